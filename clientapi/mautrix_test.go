package clientapi_test

import (
	"errors"
	"slices"
	"testing"

	"maunium.net/go/mautrix"
	mxevent "maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
	"maunium.net/go/mautrix/pushrules"

	"entente/roomserver/event"
)

// A client that we did not write registers, logs in, and keeps its things.
func TestWithMautrix(t *testing.T) {
	each(t, func(w *world) {
		client, err := mautrix.NewClient(w.url, "", "")
		if err != nil {
			w.Fatal(err)
		}
		for _, step := range slices.Concat(mautrixSessions(w, client), mautrixData(w, client)) {
			if err := step.do(); err != nil {
				w.Fatalf("%s: %v", step.name, err)
			}
		}
	})
}

type step struct {
	name string
	do   func() error
}

func mautrixSessions(w *world, client *mautrix.Client) []step {
	ctx := w.Context()
	return []step{
		{"versions", func() error {
			v, err := client.Versions(ctx)
			if err == nil && !v.Contains(mautrix.SpecV111) {
				err = errors.New("v1.11 is missing")
			}
			return err
		}},
		{"register", func() error {
			r, err := client.RegisterDummy(ctx, &mautrix.ReqRegister[any]{Username: "alice", Password: password})
			if err == nil {
				client.UserID, client.AccessToken = r.UserID, r.AccessToken
			}
			return err
		}},
		{"whoami", func() error { _, err := client.Whoami(ctx); return err }},
		{"logout", func() error { _, err := client.Logout(ctx); return err }},
		{"login", func() error {
			r, err := client.Login(ctx, &mautrix.ReqLogin{
				Type: mautrix.AuthTypePassword, Identifier: mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: "alice"},
				Password: password, StoreCredentials: true,
			})
			if err == nil && r.UserID != "@alice:test" {
				err = errors.New("logged in as " + string(r.UserID))
			}
			return err
		}},
	}
}

func mautrixData(w *world, client *mautrix.Client) []step {
	ctx := w.Context()
	room := id.RoomID("!room:test")
	var filter *mautrix.RespCreateFilter
	return []step{
		{"profile", func() error {
			if err := client.SetDisplayName(ctx, "Alice"); err != nil {
				return err
			}
			r, err := client.GetDisplayName(ctx, "@alice:test")
			if err == nil && r.DisplayName != "Alice" {
				err = errors.New("the name is " + r.DisplayName)
			}
			return err
		}},
		{"directory", func() error {
			r, err := client.SearchUserDirectory(ctx, "ali", 5)
			if err == nil && len(r.Results) != 1 {
				err = errors.New("not found")
			}
			return err
		}},
		{"account data", func() error {
			if err := client.SetAccountData(ctx, "m.direct", map[id.UserID][]id.RoomID{"@bob:test": {room}}); err != nil {
				return err
			}
			var got map[id.UserID][]id.RoomID
			err := client.GetAccountData(ctx, "m.direct", &got)
			if err == nil && len(got["@bob:test"]) != 1 {
				err = errors.New("something else came back")
			}
			return err
		}},
		{"tags", func() error {
			if _, err := w.db.AddRoom(ctx, room, event.DefaultVersion); err != nil {
				return err
			}
			if err := client.AddTag(ctx, room, mxevent.RoomTagFavourite, 0.5); err != nil {
				return err
			}
			got, err := client.GetTags(ctx, room)
			if err == nil && got.Tags[mxevent.RoomTagFavourite].Order == "" {
				err = errors.New("the tag is missing")
			}
			return err
		}},
		{"filter", func() (err error) {
			wanted := mautrix.DefaultFilter()
			filter, err = client.CreateFilter(ctx, &wanted)
			if err == nil && filter.FilterID == "" {
				err = errors.New("the filter has no name")
			}
			return err
		}},
		{"push rules", func() error { return mautrixPushRules(w, client) }},
		{"devices", func() error {
			if err := client.SetDeviceInfo(ctx, client.DeviceID, &mautrix.ReqDeviceInfo{DisplayName: "mine"}); err != nil {
				return err
			}
			r, err := client.GetDeviceInfo(ctx, client.DeviceID)
			if err == nil && r.DisplayName != "mine" {
				err = errors.New("the device is called " + r.DisplayName)
			}
			return err
		}},
		{"logout everywhere", func() error {
			if _, err := client.LogoutAll(ctx); err != nil {
				return err
			}
			if _, err := client.Whoami(ctx); !errors.Is(err, mautrix.MUnknownToken) {
				return errors.New("the token is still good")
			}
			return nil
		}},
	}
}

func mautrixPushRules(w *world, client *mautrix.Client) error {
	ctx := w.Context()
	put := &mautrix.ReqPutPushRule{Actions: []*pushrules.PushAction{{Action: pushrules.ActionNotify}}, Pattern: "cake"}
	if err := client.PutPushRule(ctx, "global", pushrules.ContentRule, "cake", put); err != nil {
		return err
	}
	if err := client.SetPushRuleEnabled(ctx, "global", pushrules.OverrideRule, ".m.rule.master", true); err != nil {
		return err
	}
	rules, err := client.GetPushRules(ctx)
	if err != nil {
		return err
	}
	if len(rules.Content) != 1 || rules.Content[0].Pattern != "cake" || !rules.Override[0].Enabled {
		return errors.New("the rules are not what was put")
	}
	return client.DeletePushRule(ctx, "global", pushrules.ContentRule, "cake")
}
