package storage_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

const alice = id.UserID("@alice:test")

func commit(t *testing.T, db *storage.DB, c storage.Commit) storage.Position {
	t.Helper()
	pos, err := db.Commit(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return pos
}

func makeAccount(t *testing.T, db *storage.DB, user id.UserID) {
	t.Helper()
	commit(t, db, storage.Commit{
		Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(user, 0)},
		Write: []storage.Row{&storage.Account{User: user, Password: "$hash", Created: 7}},
	})
}

// A name is given once, however many register it at once.
func TestAccountIsMadeOnce(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		var made atomic.Int64
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				_, err := db.Commit(t.Context(), storage.Commit{
					Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(alice, 0)},
					Write: []storage.Row{&storage.Account{User: alice, Created: 7, Admin: true}},
				})
				switch {
				case err == nil:
					made.Add(1)
				case !errors.Is(err, storage.ErrConflict):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if made.Load() != 1 {
			t.Errorf("made %d times", made.Load())
		}
		got, err := db.Latest().Account(t.Context(), alice)
		if err != nil || got == nil || *got != (storage.Account{User: alice, Admin: true, Created: 7, Revision: 1}) {
			t.Errorf("account is %+v, error %v", got, err)
		}
		if has, err := db.Latest().HasAdmin(t.Context()); err != nil || !has {
			t.Errorf("has an administrator: %v, error %v", has, err)
		}
	})
}

// What was decided on one revision does not commit after another change.
func TestAccountRevision(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		makeAccount(t, db, alice)
		change := func(expect int64, hash string) error {
			_, err := db.Commit(t.Context(), storage.Commit{
				Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(alice, expect)},
				Write: []storage.Row{&storage.Password{User: alice, Hash: hash}, &storage.Revise{User: alice}},
			})
			return err
		}
		if err := change(1, "first"); err != nil {
			t.Fatal(err)
		}
		if err := change(1, "late"); !errors.Is(err, storage.ErrConflict) {
			t.Errorf("a change of an old revision: error %v, want a conflict", err)
		}
		if err := change(2, "second"); err != nil {
			t.Error(err)
		}
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{&storage.Deactivate{User: alice}, &storage.Admin{User: alice, Admin: true}}})
		got, err := db.Latest().Account(t.Context(), alice)
		if err != nil || got.Revision != 3 || got.Password != "" || !got.Deactivated || !got.Admin {
			t.Errorf("account is %+v, error %v", got, err)
		}
		if has, err := db.Latest().HasAdmin(t.Context()); err != nil || has {
			t.Errorf("a deactivated administrator counts: %v, error %v", has, err)
		}
	})
}

func TestAccountsAreListedInPages(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		for _, user := range []id.UserID{"@c:test", "@a:test", "@b:test"} {
			makeAccount(t, db, user)
		}
		first, err := db.Latest().Accounts(t.Context(), "", 2)
		if err != nil || len(first) != 2 || first[1].User != "@b:test" {
			t.Fatalf("first page %v, error %v", first, err)
		}
		rest, err := db.Latest().Accounts(t.Context(), first[1].User, 2)
		if err != nil || len(rest) != 1 || rest[0].User != "@c:test" {
			t.Errorf("second page %v, error %v", rest, err)
		}
	})
}

// family writes a login and its refreshes; row i has access and refresh hash i.
func family(t *testing.T, db *storage.DB, states ...storage.SessionState) []*storage.Session {
	t.Helper()
	var out []*storage.Session
	for i, state := range states {
		n, err := db.NewSession(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		s := &storage.Session{
			NID: n, User: alice, Device: "DEV", Access: []byte{'a', byte(i)}, Refresh: []byte{'r', byte(i)}, Family: n, State: state,
		}
		if i > 0 {
			s.Family, s.Generation = out[0].Family, out[i-1].Generation+1
		}
		out = append(out, s)
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{s}})
	}
	return out
}

func sessionState(t *testing.T, db *storage.DB, i int) storage.SessionState {
	t.Helper()
	s, err := db.Latest().SessionByRefresh(t.Context(), []byte{'r', byte(i)})
	if err != nil {
		t.Fatal(err)
	}
	if s == nil {
		return -1
	}
	return s.State
}

// Using a refreshed session spends those before it and drops those made beside
// it.
func TestConfirmSession(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		makeAccount(t, db, alice)
		s := family(t, db, storage.SessionLive, storage.SessionFresh)
		sibling := *s[1]
		sibling.NID, sibling.Access, sibling.Refresh = s[1].NID+1000, []byte{'a', 2}, []byte{'r', 2}
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{&sibling}})
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{&storage.ConfirmSession{Session: s[1]}}})
		for i, want := range []storage.SessionState{storage.SessionSpent, storage.SessionLive, -1} {
			if got := sessionState(t, db, i); got != want {
				t.Errorf("session %d is in state %d, want %d", i, got, want)
			}
		}
		subject, err := db.UserSubject(t.Context(), storage.Sessions, alice)
		if err != nil {
			t.Fatal(err)
		}
		got, err := db.Latest().SessionByAccess(t.Context(), []byte{'a', 1})
		if err != nil || got == nil || got.Subject != subject || got.User != alice || got.Revision != 1 {
			t.Errorf("session is %+v, error %v", got, err)
		}
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{&storage.EndFamily{Family: s[0].Family}}})
		if sessionState(t, db, 0) != -1 || sessionState(t, db, 1) != -1 {
			t.Error("sessions of an ended family are left")
		}
	})
}

// Only the latest spent generations of a long-lived login are kept.
func TestSpentSessionsAreForgotten(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		makeAccount(t, db, alice)
		s := family(t, db, make([]storage.SessionState, 20)...)
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{&storage.ConfirmSession{Session: s[19]}}})
		for i, want := range map[int]storage.SessionState{0: -1, 2: -1, 3: storage.SessionSpent, 18: storage.SessionSpent, 19: storage.SessionLive} {
			if got := sessionState(t, db, i); got != want {
				t.Errorf("generation %d is in state %d, want %d", i, got, want)
			}
		}
	})
}

func TestEndSessions(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		makeAccount(t, db, alice)
		for i, device := range []id.DeviceID{"ONE", "TWO", "THREE"} {
			commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{
				&storage.Session{NID: int64(i), User: alice, Device: device, Access: []byte{'a', byte(i)}, Refresh: []byte{'r', byte(i)}},
			}})
		}
		steps := []struct {
			row  storage.Row
			want [3]storage.SessionState
		}{
			{&storage.EndSessions{User: alice, Device: "TWO"}, [3]storage.SessionState{0, -1, 0}},
			{&storage.EndAllSessions{User: alice, Except: "ONE", Soft: true}, [3]storage.SessionState{0, -1, storage.SessionSoft}},
			{&storage.EndAllSessions{User: alice, Except: "ONE"}, [3]storage.SessionState{0, -1, -1}},
			{&storage.EndAllSessions{User: alice}, [3]storage.SessionState{-1, -1, -1}},
		}
		for i, step := range steps {
			commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{step.row}})
			for j, want := range step.want {
				if got := sessionState(t, db, j); got != want {
					t.Errorf("step %d: session %d is in state %d, want %d", i, j, got, want)
				}
			}
		}
	})
}

// A login with a device's ID keeps the device's name.
func TestDevices(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		name, other := "phone", "another"
		commit(t, db, storage.Commit{Write: []storage.Row{
			&storage.UserDevice{User: alice, ID: "B", Name: &name, Created: 1, Seen: 1, From: "::1"},
			&storage.UserDevice{User: alice, ID: "A", Created: 1, Seen: 1},
			&storage.UserDevice{User: alice, ID: "B", Name: &other, Created: 2, Seen: 2, From: "::2"},
			&storage.DeviceSeen{User: alice, ID: "B", At: 9, From: "::9", Agent: "x"},
			&storage.DeviceSeen{User: alice, ID: "B", At: 5, From: "::5", Agent: "x"},
			&storage.DeviceName{User: alice, ID: "A", Name: "desk"},
		}})
		got, err := db.Latest().Devices(t.Context(), alice)
		if err != nil || len(got) != 2 {
			t.Fatalf("devices %v, error %v", got, err)
		}
		if *got[0].Name != "desk" || *got[1].Name != "phone" || got[1].Created != 1 || got[1].Seen != 9 || got[1].From != "::9" {
			t.Errorf("devices are %+v and %+v", *got[0], *got[1])
		}
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.NoDevice{User: alice, ID: "B"}}})
		if d, err := db.Latest().Device(t.Context(), alice, "B"); err != nil || d != nil {
			t.Errorf("the removed device is %v, error %v", d, err)
		}
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.NoDevices{User: alice}}})
		if got, err := db.Latest().Devices(t.Context(), alice); err != nil || len(got) != 0 {
			t.Errorf("devices %v are left, error %v", got, err)
		}
	})
}

// Each change of account data is seen once between two positions.
func TestAccountDataSince(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		put := func(room storage.RoomNID, kind, content string) storage.Position {
			return commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{
				(&storage.AccountData{User: alice, Room: room, Type: kind, Content: []byte(content)}).At(0),
			}})
		}
		first := put(0, "m.direct", `{}`)
		second := put(3, "m.tag", `{"tags":{}}`)
		third := put(0, "m.direct", `{"a":1}`)
		put(0, "m.other", `{}`)
		got, err := db.Latest().AccountDataSince(t.Context(), alice, first, third)
		if err != nil || len(got) != 2 || got[0].Pos != second || got[0].Room != 3 || got[1].Pos != third || string(got[1].Content) != `{"a":1}` {
			t.Errorf("changes are %v, error %v", got, err)
		}
		if one, err := db.Latest().AccountData(t.Context(), alice, 0, "m.tag"); err != nil || one != nil {
			t.Errorf("global data of a room's type: %v, error %v", one, err)
		}
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.NoAccountData{User: alice}}})
		if got, err := db.Latest().AccountDataSince(t.Context(), alice, 0, third+9); err != nil || len(got) != 0 {
			t.Errorf("after erasure %v, error %v", got, err)
		}
	})
}

func TestFilters(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		row := &storage.Filter{User: alice, ID: "x", Body: []byte(`{"room":{}}`)}
		commit(t, db, storage.Commit{Write: []storage.Row{row, row}})
		if got, err := db.Latest().Filter(t.Context(), alice, "x"); err != nil || string(got) != `{"room":{}}` {
			t.Errorf("filter %q, error %v", got, err)
		}
		if got, err := db.Latest().Filter(t.Context(), "@bob:test", "x"); err != nil || got != nil {
			t.Errorf("another user's filter %q, error %v", got, err)
		}
	})
}

func TestAdminCodes(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		has := func(code string, at int64) bool {
			ok, err := db.Latest().HasAdminCode(t.Context(), []byte(code), at)
			if err != nil {
				t.Fatal(err)
			}
			return ok
		}
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.AdminCode{Hash: []byte("one"), Expires: 10}}})
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.AdminCode{Hash: []byte("two"), Expires: 10}}})
		if has("one", 5) || !has("two", 5) || has("two", 10) {
			t.Error("only the latest code counts, until it expires")
		}
		commit(t, db, storage.Commit{Write: []storage.Row{storage.NoAdminCode{}}})
		if has("two", 5) {
			t.Error("the code is still there")
		}
	})
}

// The directory shows our users, who shares a room, and who is in a published
// room; nobody else. Patterns are taken literally where they are escaped.
func TestSearchUsers(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		makeAccount(t, db, alice)
		makeAccount(t, db, "@gone:test")
		shared, published, foreign := newRoom(t, db, "!shared"), newRoom(t, db, "!published"), newRoom(t, db, "!foreign")
		join := func(room *storage.RoomInfo, user id.UserID, local bool) storage.Row {
			return &storage.Member{Room: room.NID, User: user, Sender: user, Membership: storage.Join, Local: local}
		}
		commit(t, db, storage.Commit{Positions: 1, Write: []storage.Row{
			&storage.Deactivate{User: "@gone:test"}, &storage.Publish{Room: published.NID, Published: true},
			join(shared, alice, true), join(shared, "@Shared_1:far", false), join(published, "@public:far", false), join(foreign, "@foreign:far", false),
			(&storage.ProfileField{User: alice, Field: "displayname", Value: []byte(`"Ähre"`), Folded: "ähre"}).At(0),
			(&storage.ProfileField{User: alice, Field: "avatar_url", Value: []byte(`"mxc://a/b"`)}).At(0),
		}})
		for pattern, want := range map[string][]id.UserID{
			"%":           {alice, "@Shared_1:far", "@public:far"},
			"%ähr%":       {alice},
			"%shared!_1%": {"@Shared_1:far"},
			"%shared!%%":  nil,
			"%gone%":      nil,
		} {
			got, err := db.Latest().SearchUsers(t.Context(), alice, pattern, 10)
			if err != nil {
				t.Fatal(err)
			}
			var names []id.UserID
			for _, f := range got {
				names = append(names, f.User)
			}
			if !equalSets(names, want) {
				t.Errorf("%s found %v, want %v", pattern, names, want)
			}
			if len(got) == 1 && got[0].User == alice && (string(got[0].DisplayName) != `"Ähre"` || string(got[0].AvatarURL) != `"mxc://a/b"`) {
				t.Errorf("found %+v", got[0])
			}
		}
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.NoProfileField{User: alice, Field: "displayname"}}})
		if p, err := db.Latest().Profile(t.Context(), alice); err != nil || len(p) != 1 || p["avatar_url"] == nil {
			t.Errorf("profile %v, error %v", p, err)
		}
		commit(t, db, storage.Commit{Write: []storage.Row{&storage.NoProfileField{User: alice}}})
		if p, err := db.Latest().Profile(t.Context(), alice); err != nil || len(p) != 0 {
			t.Errorf("profile %v, error %v", p, err)
		}
	})
}

func equalSets(a, b []id.UserID) bool {
	seen := map[id.UserID]bool{}
	for _, u := range a {
		seen[u] = true
	}
	for _, u := range b {
		if !seen[u] {
			return false
		}
	}
	return len(a) == len(b)
}
