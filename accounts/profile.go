package accounts

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

// Profile is a user's profile: its fields, each JSON.
//
// Spec: client-server-api/#profiles
type Profile map[string]json.RawMessage

const (
	fieldDisplayName = "displayname"
	fieldAvatarURL   = "avatar_url"

	maxDisplayName  = 256
	maxAvatarURL    = 1000
	maxProfileField = 255
	maxProfile      = 64 << 10
)

// Profile reads a user's profile, from their server if it is not ours.
//
// Spec: client-server-api/#get_matrixclientv3profileuserid
func (a *Accounts) Profile(ctx context.Context, user id.UserID) (Profile, error) {
	if !a.Ours(user) {
		return a.remoteProfile(ctx, user, "")
	}
	profile := Profile{}
	err := a.db.View(ctx, func(v *storage.View) error {
		account, err := v.Account(ctx, user)
		if err != nil {
			return err
		}
		if account == nil || account.Deactivated {
			return fault.New(fault.NotFound, "There is no such user")
		}
		fields, err := v.Profile(ctx, user)
		for field, value := range fields {
			profile[field] = value
		}
		return err
	})
	return profile, err
}

// ProfileField reads one field of a user's profile, from their server if it is
// not ours.
//
// Spec: client-server-api/#get_matrixclientv3profileuseridkeyname
func (a *Accounts) ProfileField(ctx context.Context, user id.UserID, field string) (json.RawMessage, error) {
	if err := checkField(field); err != nil {
		return nil, err
	}
	var profile Profile
	var err error
	if a.Ours(user) {
		profile, err = a.Profile(ctx, user)
	} else {
		profile, err = a.remoteProfile(ctx, user, field)
	}
	if err == nil && profile[field] == nil {
		err = fault.New(fault.NotFound, "The profile has no such field")
	}
	return profile[field], err
}

func (a *Accounts) remoteProfile(ctx context.Context, user id.UserID, field string) (Profile, error) {
	if a.opts.RemoteProfile == nil {
		return nil, fault.New(fault.NotFound, "There is no such user")
	}
	return a.opts.RemoteProfile(ctx, user, field)
}

// SetProfileField sets a field of one of our users' profile. An empty display
// name or avatar removes it, as clients mean it.
//
// Spec: client-server-api/#put_matrixclientv3profileuseridkeyname
func (a *Accounts) SetProfileField(ctx context.Context, user id.UserID, field string, value json.RawMessage) error {
	if err := checkField(field); err != nil {
		return err
	}
	value, folded, err := profileValue(field, value)
	if err != nil {
		return err
	}
	if value == nil {
		return a.DeleteProfileField(ctx, user, field)
	}
	row := (&storage.ProfileField{User: user, Field: field, Value: value, Folded: folded}).At(0)
	return a.reviseProfile(ctx, user, field, row, func(p map[string][]byte) error {
		p[field] = value
		size := len("{}")
		for name, value := range p {
			size += len(name) + len(value) + len(`"":,`)
		}
		if size > maxProfile {
			return fault.New(fault.ProfileTooLarge, "The profile would be larger than %d bytes", maxProfile)
		}
		return nil
	})
}

// DeleteProfileField removes a field of one of our users' profile, if it is
// there.
//
// Spec: client-server-api/#delete_matrixclientv3profileuseridkeyname
func (a *Accounts) DeleteProfileField(ctx context.Context, user id.UserID, field string) error {
	if err := checkField(field); err != nil {
		return err
	}
	row := &storage.NoProfileField{User: user, Field: field}
	return a.reviseProfile(ctx, user, field, row, func(map[string][]byte) error { return nil })
}

// reviseProfile writes a row of a profile if check lets it.
func (a *Accounts) reviseProfile(ctx context.Context, user id.UserID, field string, row storage.Row, check func(map[string][]byte) error) error {
	touch, err := a.touch(ctx, storage.Profile, user)
	if err != nil {
		return err
	}
	err = a.revise(ctx, func() (*storage.Commit, error) {
		account, err := a.account(ctx, user)
		if err != nil {
			return nil, err
		}
		profile, err := a.db.Latest().Profile(ctx, user)
		if err != nil {
			return nil, err
		}
		if err := check(profile); err != nil {
			return nil, err
		}
		return &storage.Commit{
			Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(user, account.Revision)},
			Write: []storage.Row{&storage.Revise{User: user}, row}, Touch: touch,
		}, nil
	})
	if err == nil && a.opts.OnProfile != nil && (field == fieldDisplayName || field == fieldAvatarURL) {
		a.opts.OnProfile(context.WithoutCancel(ctx), user)
	}
	return err
}

// checkField refuses names that no profile field can have.
//
// Spec: appendices/#common-namespaced-identifier-grammar
func checkField(field string) error {
	if len(field) > maxProfileField {
		return fault.New(fault.KeyTooLarge, "The name of the profile field is longer than %d bytes", maxProfileField)
	}
	if field == fieldDisplayName || field == fieldAvatarURL {
		return nil
	}
	ok := field != "" && field[0] >= 'a' && field[0] <= 'z' && strings.Contains(field, ".")
	for i := range len(field) {
		b := field[i]
		ok = ok && (b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.')
	}
	if !ok {
		return fault.New(fault.InvalidParam, "A profile field is displayname, avatar_url, or named like org.example.field")
	}
	return nil
}

// profileValue checks a field's value and compacts it; nil removes the field.
// Folded is what a display name is searched by.
func profileValue(field string, value json.RawMessage) (compact json.RawMessage, folded string, err error) {
	if field != fieldDisplayName && field != fieldAvatarURL && field != "m.tz" {
		var b bytes.Buffer
		if err := json.Compact(&b, value); err != nil {
			return nil, "", fault.Wrap(err, fault.NotJSON, "The value is not JSON")
		}
		return b.Bytes(), "", nil
	}
	var text *string
	if err := json.Unmarshal(value, &text); err != nil {
		return nil, "", fault.Wrap(err, fault.BadJSON, "%s must be a string", field)
	}
	if text == nil || *text == "" {
		return nil, "", nil
	}
	switch field {
	case fieldDisplayName:
		if len(*text) > maxDisplayName {
			return nil, "", fault.New(fault.InvalidParam, "The display name is longer than %d bytes", maxDisplayName)
		}
		folded = strings.ToLower(*text)
	case fieldAvatarURL:
		if len(*text) > maxAvatarURL || !strings.HasPrefix(*text, "mxc://") {
			return nil, "", fault.New(fault.InvalidParam, "The avatar must be an mxc:// URI of at most %d bytes", maxAvatarURL)
		}
	}
	return mustJSON(*text), folded, nil
}

// mustJSON is the JSON of a string, which cannot fail to be encoded.
func mustJSON(s string) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // strings always encode
	return bytes.TrimRight(b.Bytes(), "\n")
}
