package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// Filter is a filter that a client made. As a Row it is kept; one that is
// there already stays as it is.
//
// Spec: client-server-api/#filtering
type Filter struct {
	User id.UserID
	// ID is a hash of the body, so that the same filter is kept once.
	ID string
	// Body is a JSON object.
	Body []byte
}

const (
	insertFilter = `INSERT INTO filter (user_nid, filter_id, body) VALUES ($1, $2, $3) ON CONFLICT (user_nid, filter_id) DO NOTHING`
	selectFilter = `SELECT f.body FROM filter f JOIN user_name u ON u.nid = f.user_nid WHERE u.user_id = $1 AND f.filter_id = $2`
)

func (f *Filter) write(w *writer) {
	w.exec(insertFilter, w.number(users, string(f.User)), f.ID, f.Body)
}

// Filter finds the body of a user's filter; nil when there is none.
func (v *View) Filter(ctx context.Context, user id.UserID, filter string) (body []byte, err error) {
	_, err = one(ctx, v.q, selectFilter, []any{string(user), filter}, &body)
	return body, err
}
