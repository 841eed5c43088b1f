package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"entente/internal/fault"
	"maunium.net/go/mautrix/id"
)

func query(server string, keys ...id.KeyID) Query {
	wanted := map[id.KeyID]Criteria{}
	for _, k := range keys {
		wanted[k] = Criteria{}
	}
	return Query{Servers: map[string]map[id.KeyID]Criteria{server: wanted}}
}

func TestANotaryAnswersWithDocumentsThatItSigned(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	r := newRing(t, c, n)
	ask := func(q Query) []json.RawMessage {
		t.Helper()
		answer, err := r.Notarize(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		return answer.ServerKeys
	}
	for i, q := range []Query{query("peer.example"), query("peer.example", "ed25519:a")} {
		docs := ask(q)
		if len(docs) != 1 {
			t.Fatalf("query %d: got %s", i, docs)
		}
		if _, err := ParseDocument(docs[0], "peer.example", c.now()); err != nil {
			t.Error(err)
		}
		if err := r.VerifyJSON(context.Background(), "us.example", docs[0], c.now()); err != nil {
			t.Error(err)
		}
	}
	if n.count("peer.example") != 1 {
		t.Errorf("the peer was asked %d times", n.count("peer.example"))
	}
	if docs := ask(query("us.example")); len(docs) != 1 {
		t.Errorf("of ourselves: got %s", docs)
	}
	if docs := ask(query("peer.example", "ed25519:unknown")); len(docs) != 0 {
		t.Errorf("of an unknown key: got %s", docs)
	}
	empty, err := r.Notarize(context.Background(), query("absent.example"))
	if raw, _ := json.Marshal(empty); err != nil || string(raw) != `{"server_keys":[]}` {
		t.Errorf("of an absent server: got %s, %v", raw, err)
	}
}

func TestANotaryAsksForFresherKeys(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	n := newNetwork(peer)
	r := newRing(t, c, n)
	soon := c.now().Add(30 * time.Hour).UnixMilli()
	fresher := query("peer.example")
	fresher.MinimumValidUntil = soon
	byKey := Query{Servers: map[string]map[id.KeyID]Criteria{"peer.example": {"ed25519:a": {MinimumValidUntil: soon}}}}
	for i, q := range []Query{query("peer.example"), fresher, byKey} {
		if _, err := r.Notarize(context.Background(), q); err != nil {
			t.Fatal(err)
		}
		c.pass(refetch)
		if n.count("peer.example") != i+1 {
			t.Errorf("query %d: the peer was asked %d times", i, n.count("peer.example"))
		}
	}
	// A peer that went away is answered for with what it said last.
	n.fails("peer.example")
	c.pass(100 * time.Hour)
	answer, err := r.Notarize(context.Background(), query("peer.example"))
	if err != nil || len(answer.ServerKeys) != 1 {
		t.Errorf("got %s, %v", answer.ServerKeys, err)
	}
}

func TestAQueryIsBounded(t *testing.T) {
	r := newRing(t, newClock(), newNetwork())
	q := Query{Servers: map[string]map[id.KeyID]Criteria{}}
	for i := range maxQueryServers + 1 {
		q.Servers[fmt.Sprintf("s%d.example", i)] = nil
	}
	_, err := r.Notarize(context.Background(), q)
	wantKind(t, err, fault.TooLarge)
	_, err = r.Notarize(context.Background(), query("not a server"))
	wantKind(t, err, fault.InvalidParam)
}

func TestKeysOfAnAbsentServerComeFromANotary(t *testing.T) {
	c := newClock()
	peer, notary := mustOwn(t, "peer.example", c), mustOwn(t, "notary.example", c)
	theirs := newRing(t, c, newNetwork(peer), func(o *Options) { o.Own = notary })
	obj := signed(t, peer.Signer())
	ask := func(query func(context.Context, string, string, int64) ([][]byte, error)) error {
		r := newRing(t, c, newNetwork(notary), func(o *Options) {
			o.Notaries, o.Query = []string{"absent.example", "notary.example"}, query
		})
		return r.VerifyJSON(context.Background(), "peer.example", obj, c.now())
	}
	honest := func(ctx context.Context, notary, server string, _ int64) ([][]byte, error) {
		if notary != "notary.example" {
			return nil, errors.New("connection refused")
		}
		answer, err := theirs.Notarize(ctx, query(server))
		var out [][]byte
		for _, doc := range answer.ServerKeys {
			out = append(out, doc)
		}
		return out, err
	}
	if err := ask(honest); err != nil {
		t.Error(err)
	}
	// A document without the notary's signature counts for nothing.
	wantKind(t, ask(func(context.Context, string, string, int64) ([][]byte, error) {
		doc, err := peer.Document()
		return [][]byte{doc}, err
	}), fault.Unreachable)
	wantKind(t, ask(func(context.Context, string, string, int64) ([][]byte, error) { return nil, nil }), fault.Unreachable)
}

func TestNoNotaryIsAskedByDefault(t *testing.T) {
	c := newClock()
	r := newRing(t, c, newNetwork(), func(o *Options) {
		o.Query = func(context.Context, string, string, int64) ([][]byte, error) {
			t.Error("a notary was asked")
			return nil, nil
		}
	})
	wantKind(t, r.VerifyJSON(context.Background(), "peer.example", signed(t, mustOwn(t, "peer.example", c).Signer()), c.now()), fault.Unreachable)
}
