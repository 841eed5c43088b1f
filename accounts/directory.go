package accounts

import (
	"context"
	"strings"

	"maunium.net/go/mautrix/id"

	"entente/storage"
)

const (
	defaultFound  = 10
	maxFound      = 100
	maxSearchTerm = 255
)

// SearchUsers finds users by a part of their ID or display name; more reports
// that there are others. A limit of zero is the default.
//
// Spec: client-server-api/#post_matrixclientv3user_directorysearch
func (a *Accounts) SearchUsers(ctx context.Context, user id.UserID, term string, limit int) (found []storage.Found, more bool, err error) {
	term = strings.ToLower(strings.TrimSpace(truncate(term, maxSearchTerm)))
	if term == "" || limit < 0 {
		return nil, false, nil
	}
	if limit == 0 {
		limit = defaultFound
	}
	limit = min(limit, maxFound)
	found, err = a.db.Latest().SearchUsers(ctx, user, "%"+likeEscape(term)+"%", limit+1)
	if len(found) > limit {
		return found[:limit], true, err
	}
	return found, false, err
}

// likeEscape takes the meaning from what LIKE would read as a wildcard.
func likeEscape(s string) string {
	return strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(s)
}
