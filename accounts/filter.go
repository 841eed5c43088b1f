package accounts

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

const maxFilter = 64 << 10

// Filter finds the body of a user's filter. A filter never changes.
//
// Spec: client-server-api/#get_matrixclientv3useruseridfilterfilterid
func (a *Accounts) Filter(ctx context.Context, user id.UserID, filter string) (json.RawMessage, error) {
	body, err := a.db.Latest().Filter(ctx, user, filter)
	if err == nil && body == nil {
		err = fault.New(fault.NotFound, "There is no such filter")
	}
	return body, err
}

// PutFilter keeps a filter and names it. The same filter gets the same name.
//
// Spec: client-server-api/#post_matrixclientv3useruseridfilter
func (a *Accounts) PutFilter(ctx context.Context, user id.UserID, body json.RawMessage) (filter string, err error) {
	if len(body) > maxFilter {
		return "", fault.New(fault.TooLarge, "The filter is larger than %d bytes", maxFilter)
	}
	if err := CheckFilter(body); err != nil {
		return "", err
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil {
		return "", fault.Wrap(err, fault.NotJSON, "The filter is not JSON")
	}
	sum := sha256.Sum256(compact.Bytes())
	filter = base64.RawURLEncoding.EncodeToString(sum[:15])
	return filter, a.commit(ctx, storage.Commit{Write: []storage.Row{&storage.Filter{User: user, ID: filter, Body: compact.Bytes()}}})
}

// CheckFilter refuses what does not have the form of a filter. Keys that the
// specification does not have are let through.
//
// Spec: client-server-api/#filtering
func CheckFilter(body json.RawMessage) error {
	var f filterForm
	if err := json.Unmarshal(body, &f); err != nil {
		return fault.Wrap(err, fault.BadJSON, "The filter does not have the form of a filter")
	}
	switch f.Format {
	case "", "client", "federation":
	default:
		return fault.New(fault.BadJSON, "event_format is neither client nor federation")
	}
	if err := checkIDs('!', f.Room.Rooms, f.Room.NotRooms); err != nil {
		return err
	}
	for _, part := range []eventsForm{f.Presence, f.AccountData, f.Room.Ephemeral, f.Room.State, f.Room.Timeline, f.Room.AccountData} {
		if err := part.check(); err != nil {
			return err
		}
	}
	return nil
}

// filterForm is the form of a filter. Spec: client-server-api/#filtering
type filterForm struct {
	Fields      []string   `json:"event_fields"`
	Format      string     `json:"event_format"`
	Presence    eventsForm `json:"presence"`
	AccountData eventsForm `json:"account_data"`
	Room        struct {
		Rooms        []string   `json:"rooms"`
		NotRooms     []string   `json:"not_rooms"`
		IncludeLeave bool       `json:"include_leave"`
		Ephemeral    eventsForm `json:"ephemeral"`
		State        eventsForm `json:"state"`
		Timeline     eventsForm `json:"timeline"`
		AccountData  eventsForm `json:"account_data"`
	} `json:"room"`
}

type eventsForm struct {
	Limit            *int64   `json:"limit"`
	Types            []string `json:"types"`
	NotTypes         []string `json:"not_types"`
	Senders          []string `json:"senders"`
	NotSenders       []string `json:"not_senders"`
	Rooms            []string `json:"rooms"`
	NotRooms         []string `json:"not_rooms"`
	ContainsURL      *bool    `json:"contains_url"`
	LazyLoadMembers  bool     `json:"lazy_load_members"`
	RedundantMembers bool     `json:"include_redundant_members"`
	UnreadThreads    bool     `json:"unread_thread_notifications"`
}

func (f *eventsForm) check() error {
	if f.Limit != nil && *f.Limit < 0 {
		return fault.New(fault.BadJSON, "limit is negative")
	}
	if err := checkIDs('!', f.Rooms, f.NotRooms); err != nil {
		return err
	}
	return checkIDs('@', f.Senders, f.NotSenders)
}

// checkIDs refuses identifiers without their sigil.
func checkIDs(sigil byte, lists ...[]string) error {
	for _, list := range lists {
		for _, s := range list {
			if len(s) < 2 || s[0] != sigil || strings.IndexByte(s, 0) >= 0 {
				return fault.New(fault.BadJSON, "%q is not an ID that begins with %c", truncate(s, maxUserID), sigil)
			}
		}
	}
	return nil
}
