package accounts_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/internal/fault"
	"entente/storage"
	"entente/storage/storagetest"
)

const password = "correct horse"

func open(db *storage.DB, o accounts.Options) *accounts.Accounts {
	o.DB, o.ServerName = db, "test"
	o.Passwords = accounts.PasswordOptions{Memory: 64 << 10, Passes: 1}
	o.Sessions = accounts.SessionOptions{Refresh: true}
	return accounts.New(o)
}

// create makes an account with a device that is logged in.
func create(t testing.TB, a *accounts.Accounts, name string) *accounts.Grant {
	t.Helper()
	_, grant, err := a.Create(t.Context(), accounts.NewUser{Localpart: name, Password: password, Login: &accounts.Login{Device: "DEV"}})
	if err != nil {
		t.Fatal(err)
	}
	return grant
}

func authenticate(t testing.TB, a *accounts.Accounts, token string) error {
	t.Helper()
	_, err := a.Authenticate(t.Context(), token, accounts.Caller{})
	return err
}

// A token that was checked once is checked without the database, until
// something about the user's sessions changes.
func TestAuthenticateReadsOnce(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, err := storage.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		a := open(db, accounts.Options{})
		known, unknown := create(t, a, "alice"), create(t, a, "bob")
		if err := authenticate(t, a, known.AccessToken); err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if err := authenticate(t, a, known.AccessToken); err != nil {
			t.Errorf("a known token needs the database: %v", err)
		}
		if err := authenticate(t, a, unknown.AccessToken); err == nil || fault.Is(err, fault.UnknownToken) {
			t.Errorf("a token that cannot be looked up: error %v, want a fault of ours", err)
		}
	})
}

// What happens to a session on one node is so on all.
func TestTwoNodes(t *testing.T) {
	o := storagetest.Postgres(t)
	one, two := open(storagetest.Open(t, o), accounts.Options{}), open(storagetest.Open(t, o), accounts.Options{})
	grant := create(t, one, "alice")
	for _, a := range []*accounts.Accounts{one, two} {
		if err := authenticate(t, a, grant.AccessToken); err != nil {
			t.Fatal(err)
		}
	}
	by := accounts.Caller{User: grant.User, Device: grant.Device}
	if err := one.LogOut(t.Context(), by); err != nil {
		t.Fatal(err)
	}
	for range 1000 { // the other node applies the log on its own time
		if fault.Is(authenticate(t, two, grant.AccessToken), fault.UnknownToken) {
			return
		}
		hurry(t, two, grant.User)
	}
	t.Error("the other node still takes the token")
}

// hurry lets a node apply the log, by writing through it.
func hurry(t *testing.T, a *accounts.Accounts, user id.UserID) {
	t.Helper()
	if err := a.SetAccountData(t.Context(), user, "", "x", []byte("{}")); err != nil {
		t.Fatal(err)
	}
}

// Changes that read before they write do not cross one another.
func TestChangesDoNotCross(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		a := open(storagetest.Open(t, o), accounts.Options{})
		user := create(t, a, "alice").User
		const writers = 6
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				body := []byte(`{"actions":["notify"]}`)
				if err := a.SetPushRule(t.Context(), user, "room", fmt.Sprintf("!%d:test", i), body, accounts.RulePlace{}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		rules, err := a.PushRules(t.Context(), user)
		if err != nil {
			t.Fatal(err)
		}
		if len(rules.Global.Room.Map) != writers {
			t.Errorf("of %d rules there are %d", writers, len(rules.Global.Room.Map))
		}
	})
}

// Of two uses of the first administrator's code at once, one succeeds.
func TestFirstAdministratorOnce(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		a := open(storagetest.Open(t, o), accounts.Options{})
		code, err := a.FirstAdministrator(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := a.CheckToken(t.Context(), code); err != nil || got != accounts.InvitedAsAdmin {
			t.Errorf("the code is good for %v, error %v", got, err)
		}
		errs := make([]error, 5)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, _, errs[i] = a.Create(t.Context(), accounts.NewUser{Localpart: fmt.Sprintf("root%d", i), Password: password, Code: code})
			})
		}
		wg.Wait()
		made := 0
		for _, err := range errs {
			switch {
			case err == nil:
				made++
			case !fault.Is(err, fault.Forbidden):
				t.Error(err)
			}
		}
		if made != 1 {
			t.Errorf("%d administrators were made", made)
		}
	})
}

// Devices' last uses are written in the background, and once a minute at most.
func TestLastSeen(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		var mu sync.Mutex
		at := time.Now()
		now := func() time.Time { mu.Lock(); defer mu.Unlock(); return at }
		db := storagetest.Open(t, o)
		a := open(db, accounts.Options{Now: now})
		grant := create(t, a, "alice")
		use := func(after time.Duration, from string) {
			mu.Lock()
			at = at.Add(after)
			mu.Unlock()
			caller := accounts.Caller{Remote: netip.MustParseAddr(from), Agent: "test"}
			if _, err := a.Authenticate(t.Context(), grant.AccessToken, caller); err != nil {
				t.Fatal(err)
			}
		}
		use(time.Hour, "192.0.2.1")
		use(time.Second, "192.0.2.2")
		run(t, a)
		d, err := a.Device(t.Context(), grant.User, "DEV")
		if err != nil || d.From != "192.0.2.1" || d.Agent != "test" || d.Seen != now().Add(-time.Second).UnixMilli() {
			t.Errorf("the device is %+v, error %v", d, err)
		}
		use(time.Minute, "192.0.2.3")
		run(t, a)
		if d, err := a.Device(t.Context(), grant.User, "DEV"); err != nil || d.From != "192.0.2.3" {
			t.Errorf("the device is %+v, error %v", d, err)
		}
	})
}

// run lets the background work end, which writes what is left.
func run(t *testing.T, a *accounts.Accounts) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// An administrator who is none any more loses it in sessions that go on.
func TestSetAdmin(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		a := open(storagetest.Open(t, o), accounts.Options{})
		grant := create(t, a, "alice")
		for _, admin := range []bool{true, false} {
			if err := a.SetAdmin(t.Context(), grant.User, admin, accounts.Caller{}); err != nil {
				t.Fatal(err)
			}
			if s, err := a.Authenticate(t.Context(), grant.AccessToken, accounts.Caller{}); err != nil || s.Admin != admin {
				t.Errorf("the session is %+v, error %v", s, err)
			}
		}
		if err := a.SetAdmin(t.Context(), "@nobody:test", true, accounts.Caller{}); !fault.Is(err, fault.NotFound) {
			t.Errorf("an administrator who does not exist: error %v", err)
		}
		if err := a.Deactivate(t.Context(), grant.User, false, accounts.Caller{}); err != nil {
			t.Fatal(err)
		}
		if err := a.SetAdmin(t.Context(), grant.User, true, accounts.Caller{}); !fault.Is(err, fault.UserDeactivated) {
			t.Errorf("an administrator who is gone: error %v", err)
		}
		if err := authenticate(t, a, grant.AccessToken); !fault.Is(err, fault.UnknownToken) {
			t.Errorf("the session of a deactivated user: error %v", err)
		}
	})
}

// Application services may make users with names that are kept from people.
func TestAppServiceUsers(t *testing.T) {
	a := open(storagetest.Open(t, storagetest.SQLite(t)), accounts.Options{})
	user, _, err := a.Create(t.Context(), accounts.NewUser{Localpart: "_bridge_x", AppService: "bridge"})
	if err != nil || user != "@_bridge_x:test" {
		t.Errorf("made %s, error %v", user, err)
	}
	if _, err := a.LogIn(t.Context(), string(user), "", accounts.Login{}); !fault.Is(err, fault.Forbidden) {
		t.Errorf("logged in without a password: error %v", err)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	a := open(storagetest.Open(b, storagetest.SQLite(b)), accounts.Options{})
	token := create(b, a, "alice").AccessToken
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.Authenticate(b.Context(), token, accounts.Caller{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPushRules(b *testing.B) {
	a := open(storagetest.Open(b, storagetest.SQLite(b)), accounts.Options{})
	user := create(b, a, "alice").User
	b.ReportAllocs()
	for b.Loop() {
		if _, err := a.PushRules(b.Context(), user); err != nil {
			b.Fatal(err)
		}
	}
}
