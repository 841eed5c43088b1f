package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// ProfileField is a field of one of our users' profiles. As a Row it is set.
//
// Spec: client-server-api/#profiles
type ProfileField struct {
	User  id.UserID
	Field string
	// Value is JSON.
	Value []byte
	// Folded is a display name in lower case; empty for other fields.
	Folded string

	tick int
}

// At makes the i-th position of the commit the time of the change.
func (p *ProfileField) At(i int) *ProfileField { p.tick = i; return p }

const (
	upsertProfile = `INSERT INTO profile (user_nid, field, value, folded, pos) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (user_nid, field) DO UPDATE SET value = excluded.value, folded = excluded.folded, pos = excluded.pos`
	deleteProfileField = `DELETE FROM profile WHERE user_nid = $1 AND field = $2`
	deleteProfile      = `DELETE FROM profile WHERE user_nid = $1`
	selectProfile      = `SELECT p.field, p.value FROM profile p JOIN user_name u ON u.nid = p.user_nid WHERE u.user_id = $1`
)

func (p *ProfileField) write(w *writer) {
	var folded any
	if p.Folded != "" {
		folded = p.Folded
	}
	w.exec(upsertProfile, w.number(users, string(p.User)), p.Field, p.Value, folded, tick(p.tick))
}

// NoProfileField removes a field, or with an empty one the whole profile.
type NoProfileField struct {
	User  id.UserID
	Field string
}

func (p *NoProfileField) write(w *writer) {
	user := w.number(users, string(p.User))
	if p.Field == "" {
		w.exec(deleteProfile, user)
		return
	}
	w.exec(deleteProfileField, user, p.Field)
}

// Profile reads the fields of one of our users' profile, each JSON.
func (v *View) Profile(ctx context.Context, user id.UserID) (map[string][]byte, error) {
	fields := map[string][]byte{}
	err := each(ctx, v.q, selectProfile, []any{string(user)}, func(r rowScanner) error {
		var field string
		var value []byte
		err := r.Scan(&field, &value)
		fields[field] = value
		return err
	})
	return fields, err
}

// Found is a user whom a search of the directory found.
type Found struct {
	User id.UserID
	// DisplayName and AvatarURL are JSON, or nil when they are not known.
	DisplayName, AvatarURL []byte
}

const searchUsers = `SELECT u.user_id, n.value, a.value FROM user_name u
	LEFT JOIN profile n ON n.user_nid = u.nid AND n.field = 'displayname'
	LEFT JOIN profile a ON a.user_nid = u.nid AND a.field = 'avatar_url'
	WHERE (LOWER(u.user_id) LIKE $2 ESCAPE '!' OR n.folded LIKE $2 ESCAPE '!')
	AND (u.nid IN (SELECT c.user_nid FROM account c WHERE NOT c.deactivated)
		OR u.nid IN (SELECT m.user_nid FROM member mine JOIN member m ON m.room = mine.room AND m.membership = 1
			WHERE mine.user_nid = $1 AND mine.local AND mine.membership = 1)
		OR u.nid IN (SELECT m.user_nid FROM room r JOIN member m ON m.room = r.nid AND m.membership = 1 WHERE r.published))
	ORDER BY CASE WHEN n.value IS NULL THEN 1 ELSE 0 END, u.user_id LIMIT $3`

// SearchUsers finds at most limit users whose ID or display name matches a
// pattern in lower case for LIKE, with ! as its escape: our users, those who
// share a room with user, and the members of published rooms.
func (v *View) SearchUsers(ctx context.Context, user id.UserID, pattern string, limit int) ([]Found, error) {
	n, _, err := v.userNumber(ctx, user)
	if err != nil {
		return nil, err
	}
	var out []Found
	err = each(ctx, v.q, searchUsers, []any{n, pattern, limit}, func(r rowScanner) error {
		var f Found
		err := r.Scan((*string)(&f.User), &f.DisplayName, &f.AvatarURL)
		out = append(out, f)
		return err
	})
	return out, err
}
