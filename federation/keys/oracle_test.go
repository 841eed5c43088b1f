package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"entente/internal/spectest"
	"entente/roomserver/event"
	"github.com/matrix-org/gomatrixserverlib"
	"github.com/matrix-org/gomatrixserverlib/fclient"
	"github.com/matrix-org/gomatrixserverlib/spec"
	"maunium.net/go/mautrix/id"
)

// oracle verifies JSON for the library with one server's keys.
type oracle struct{ own *Own }

func (o oracle) VerifyJSONs(_ context.Context, requests []gomatrixserverlib.VerifyJSONRequest) ([]gomatrixserverlib.VerifyJSONResult, error) {
	out := make([]gomatrixserverlib.VerifyJSONResult, len(requests))
	for i, r := range requests {
		s := o.own.Signer()
		key, _ := o.own.lookup(s.KeyID)
		out[i].Error = gomatrixserverlib.VerifyJSON(string(r.ServerName), gomatrixserverlib.KeyID(s.KeyID), key.Public, r.Message)
	}
	return out, nil
}

// TestRequestsAreUnderstoodByTheLibrary sends requests both ways between this
// package and another implementation.
func TestRequestsAreUnderstoodByTheLibrary(t *testing.T) {
	c := newClock()
	us, peer := mustOwn(t, "us.example", c), mustOwn(t, "peer.example:8448", c)
	ring := newRing(t, c, newNetwork(us), func(o *Options) { o.Own = peer })
	for _, test := range []struct{ method, uri, body string }{
		{"GET", "/_matrix/federation/v1/make_join/%21r%2F:x/@u:us.example?ver=1&ver=12", ""},
		{"PUT", "/_matrix/federation/v1/send/1", `{"edus":[],"origin":"us.example","pdus":[{"a":"\"\\\u0007ü😀</>"}]}`},
	} {
		// Ours, read by the library.
		body, err := event.Canonical([]byte(orEmpty(test.body)))
		if err != nil {
			t.Fatal(err)
		}
		if test.body == "" {
			body = nil
		}
		req := httptest.NewRequest(test.method, test.uri, bytes.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", SignRequest(us.Signer(), test.method, test.uri, peer.Name(), body))
		read, refused := fclient.VerifyHTTPRequest(req, c.now(), spec.ServerName(peer.Name()), nil, oracle{us})
		if read == nil || read.Origin() != "us.example" {
			t.Errorf("%s %s: the library answers %+v", test.method, test.uri, refused)
		}
		// The library's, read by us.
		theirs := fclient.NewFederationRequest(test.method, "us.example", spec.ServerName(peer.Name()), test.uri)
		if test.body != "" {
			if err := theirs.SetContent(json.RawMessage(test.body)); err != nil {
				t.Fatal(err)
			}
		}
		s := us.Signer()
		if err := theirs.Sign("us.example", gomatrixserverlib.KeyID(s.KeyID), s.Key); err != nil {
			t.Fatal(err)
		}
		out, err := theirs.HTTPRequest()
		if err != nil {
			t.Fatal(err)
		}
		in := httptest.NewRequest(test.method, test.uri, nil)
		in.Header = out.Header
		if _, err := ring.Authenticate(in, theirs.Content()); err != nil {
			t.Errorf("%s %s of the library: %v", test.method, test.uri, err)
		}
	}
}

func orEmpty(s string) string {
	if s == "" {
		return "{}"
	}
	return s
}

func TestOurDocumentIsUnderstoodByTheLibrary(t *testing.T) {
	c := newClock()
	own := mustOwn(t, "us.example", c, OwnKey{ID: "ed25519:a", Private: private(1)},
		OwnKey{ID: "ed25519:old", Private: private(2), Until: c.now().Add(-1)})
	doc, err := own.Document()
	if err != nil {
		t.Fatal(err)
	}
	var keys gomatrixserverlib.ServerKeys
	if err := json.Unmarshal(doc, &keys); err != nil {
		t.Fatal(err)
	}
	if checks, _ := gomatrixserverlib.CheckKeys("us.example", c.now(), keys); !checks.AllChecksOK {
		t.Errorf("the library finds %+v", checks)
	}
}

func TestOurAnswersHaveTheShapeOfTheSpecification(t *testing.T) {
	sp := spectest.FromEnv(t)
	c := newClock()
	r := newRing(t, c, newNetwork(mustOwn(t, "peer.example", c)))
	doc, err := r.Own().Document()
	if err != nil {
		t.Fatal(err)
	}
	full, err := r.Notarize(context.Background(), Query{Servers: map[string]map[id.KeyID]Criteria{"peer.example": nil}})
	if err != nil {
		t.Fatal(err)
	}
	for path, answer := range map[string]any{
		"/_matrix/key/v2/server":             doc,
		"/_matrix/key/v2/query/peer.example": full,
		"/_matrix/key/v2/query/none.example": Answer{ServerKeys: []json.RawMessage{}},
	} {
		body, err := json.Marshal(answer)
		if err != nil {
			t.Fatal(err)
		}
		h := http.Header{"Content-Type": {"application/json"}}
		if err := sp.Response(spectest.Answer{Method: "GET", Path: path, Status: 200, Header: h, Body: body}); err != nil {
			t.Error(err)
		}
	}
}
