package accounts

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"maunium.net/go/mautrix/id"

	"entente/storage"
)

func liveOf(owner int64, token string) *live {
	return &live{hash: sha256.Sum256([]byte(token)), session: &storage.Session{Subject: storage.Subject{Kind: storage.Sessions, ID: owner}}}
}

// What was read before a change is not kept after it, or a session that ended
// in between would live for ever.
func TestSessionCacheKeepsNothingStale(t *testing.T) {
	c := newSessionCache()
	before := c.changes.Load()
	c.forget(1)
	stale := liveOf(1, "a")
	c.put(stale, before)
	if c.get(stale.hash) != nil {
		t.Error("a stale reading is kept")
	}
	c.put(stale, c.changes.Load())
	if c.get(stale.hash) != stale {
		t.Error("a fresh reading is not kept")
	}
}

// A change of one user's sessions leaves the others' where they are.
func TestSessionCacheForgetsOneUser(t *testing.T) {
	c := newSessionCache()
	a, b, other := liveOf(1, "a"), liveOf(1, "b"), liveOf(2, "c")
	for _, l := range []*live{a, b, other, a} {
		c.put(l, 0)
	}
	c.forget(1)
	if c.get(a.hash) != nil || c.get(b.hash) != nil || c.get(other.hash) == nil || len(c.byHash) != 1 || len(c.byOwner) != 1 {
		t.Errorf("%d sessions of %d users are kept", len(c.byHash), len(c.byOwner))
	}
}

func TestSessionCacheIsBounded(t *testing.T) {
	c := newSessionCache()
	for i := range int64(maxSessions + 10) {
		c.put(liveOf(i, fmt.Sprint(i)), 0)
	}
	if len(c.byHash) > maxSessions || len(c.byOwner) != len(c.byHash) {
		t.Errorf("%d sessions of %d users are kept", len(c.byHash), len(c.byOwner))
	}
}

func TestRuleCache(t *testing.T) {
	c := newRuleCache()
	c.put("@a:b", 1, &PushRules{}, 0)
	c.put("@c:d", 2, &PushRules{}, 0)
	c.forget(1)
	if c.get("@a:b") != nil || c.get("@c:d") == nil {
		t.Error("the wrong rules are kept")
	}
	if c.put("@a:b", 1, &PushRules{}, 0); c.get("@a:b") != nil {
		t.Error("a stale reading is kept")
	}
	for i := range int64(maxRules + 10) {
		c.put(id.UserID(fmt.Sprint("@", i)), i+10, &PushRules{}, c.changes.Load())
	}
	if len(c.byUser) > maxRules || len(c.owners) != len(c.byUser) {
		t.Errorf("the rules of %d users are kept", len(c.byUser))
	}
}

// Beyond its bound no new devices are noted; those that wait are kept up to
// date.
func TestSightingsAreBounded(t *testing.T) {
	s := newSightings()
	see := func(i int, at int64) {
		s.note(&storage.Session{User: "@a:b", Device: id.DeviceID(fmt.Sprint("D", i))}, at, Caller{})
	}
	for i := range maxSeen + 10 {
		see(i, 1)
	}
	see(0, 2)
	s.note(&storage.Session{User: "@a:b"}, 1, Caller{}) // no device
	if len(s.waiting) != maxSeen || s.waiting[deviceKey{"@a:b", "D0"}].At != 2 {
		t.Errorf("%d devices wait", len(s.waiting))
	}
	if rows := s.take(); len(rows) != maxSeen || len(s.take()) != 0 {
		t.Errorf("took %d devices", len(rows))
	}
}

func TestTruncate(t *testing.T) {
	for _, test := range []struct {
		in   string
		n    int
		want string
	}{{"abc", 5, "abc"}, {"abc", 3, "abc"}, {"abc", 2, "ab"}, {"aä", 2, "a"}, {"ä", 1, ""}, {"", 0, ""}} {
		if got := truncate(test.in, test.n); got != test.want {
			t.Errorf("%q cut to %d bytes is %q", test.in, test.n, got)
		}
	}
}

// Tokens differ, tell their kind, and are found by their hash.
func TestTokens(t *testing.T) {
	a, hash := newToken(accessPrefix)
	b, _ := newToken(accessPrefix)
	if a == b || len(a) < len(accessPrefix)+43 || a[:len(accessPrefix)] != accessPrefix || string(hash) != string(hashOf(a)) {
		t.Errorf("the tokens are %s and %s", a, b)
	}
}

func TestUserIDs(t *testing.T) {
	a := &Accounts{opts: Options{ServerName: "test"}}
	for name, want := range map[string]id.UserID{
		"alice": "@alice:test", "A.b_c=d-e/f+0": "@a.b_c=d-e/f+0:test", "": "", "a:b": "", "ä": "", "a b": "", "@a": "", "a\x00": "",
	} {
		if got, err := a.UserID(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, error %v", name, got, err)
		}
	}
}
