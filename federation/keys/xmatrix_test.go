package keys

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"entente/internal/fault"
	"entente/roomserver/event"
)

func TestAuthorizationHeadersAsServersWriteThem(t *testing.T) {
	want := Authorization{Origin: "a.example:8448", Destination: "b.example", KeyID: "ed25519:key1", Signature: "ABC/+"}
	for name, header := range map[string]string{
		"as specified":       `X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:key1",sig="ABC/+"`,
		"our own":            want.String(),
		"unquoted":           `X-Matrix origin=a.example:8448,destination=b.example,key=ed25519:key1,sig=ABC/+`,
		"upper case":         `x-MATRIX Origin="a.example:8448",DESTINATION="b.example",Key="ed25519:key1",Sig="ABC/+"`,
		"other order":        `X-Matrix sig="ABC/+",key="ed25519:key1",destination="b.example",origin="a.example:8448"`,
		"spaces":             "X-Matrix   origin=\"a.example:8448\" ,\t destination = \"b.example\" , key=\"ed25519:key1\",sig=\"ABC/+\" ",
		"backslashes":        `X-Matrix origin="a.exam\ple:8448",destination="b.example",key="ed25519\:key1",sig="ABC\/+"`,
		"unknown parameters": `X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:key1",sig="ABC/+",version="2",x=`,
		"named signature":    `X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:key1",signature="ABC/+"`,
		"empty elements":     `X-Matrix ,,origin="a.example:8448",,destination="b.example",key="ed25519:key1",sig="ABC/+",`,
	} {
		if got, err := ParseAuthorization(header); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
	old, err := ParseAuthorization(`X-Matrix origin=a.example,key="ed25519:1",sig="A"`)
	if err != nil || old.Destination != "" {
		t.Errorf("without a destination: got %+v, %v", old, err)
	}
	padded, err := ParseAuthorization(`X-Matrix origin=a.example,key="ed25519:1",sig=AA==`)
	if err != nil || padded.Signature != "AA==" {
		t.Errorf("with padding: got %+v, %v", padded, err)
	}
}

func TestMalformedAuthorizationHeadersAreRefused(t *testing.T) {
	for name, header := range map[string]string{
		"empty":              ``,
		"another scheme":     `Bearer abc`,
		"a longer scheme":    `X-Matrixx origin="a.example",key="ed25519:1",sig="A"`,
		"scheme alone":       `X-Matrix`,
		"no origin":          `X-Matrix key="ed25519:1",sig="A"`,
		"no key":             `X-Matrix origin="a.example",sig="A"`,
		"no signature":       `X-Matrix origin="a.example",key="ed25519:1"`,
		"two origins":        `X-Matrix origin="a.example",origin="b.example",key="ed25519:1",sig="A"`,
		"two signatures":     `X-Matrix origin="a.example",key="ed25519:1",sig="A",signature="B"`,
		"open quote":         `X-Matrix origin="a.example",key="ed25519:1",sig="A`,
		"open escape":        `X-Matrix origin="a.example",key="ed25519:1",sig="A\`,
		"text behind quotes": `X-Matrix origin="a.example"x,key="ed25519:1",sig="A"`,
		"quote inside":       `X-Matrix origin=a"example,key="ed25519:1",sig="A"`,
		"no value":           `X-Matrix origin,key="ed25519:1",sig="A"`,
		"no name":            `X-Matrix ="a.example",key="ed25519:1",sig="A"`,
		"an invalid origin":  `X-Matrix origin="a/b",key="ed25519:1",sig="A"`,
		"an invalid target":  `X-Matrix origin="a.example",destination="a b",key="ed25519:1",sig="A"`,
		"another algorithm":  `X-Matrix origin="a.example",key="rsa:1",sig="A"`,
		"no key version":     `X-Matrix origin="a.example",key="ed25519:",sig="A"`,
		"control characters": "X-Matrix origin=\"a.example\",key=\"ed25519:1\",sig=\"A\x01\"",
		"endless":            `X-Matrix origin="a.example",key="ed25519:1",sig="` + strings.Repeat("A", maxAuthorizationBytes) + `"`,
	} {
		if got, err := ParseAuthorization(header); !fault.Is(err, fault.Unauthorized) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

// request makes a signed request from a peer to us.
func signedRequest(s event.Signer, method, uri, destination, body, signedBody string) *http.Request {
	req := httptest.NewRequest(method, uri, strings.NewReader(body))
	req.Header.Set("Authorization", SignRequest(s, method, uri, destination, []byte(signedBody)))
	return req
}

func TestRequestsAreAuthenticated(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	r := newRing(t, c, newNetwork(peer), func(o *Options) {
		own, err := NewOwn(OwnOptions{
			Name: "us.example", Aliases: []string{"alias.example"}, Keys: []OwnKey{{ID: "ed25519:a", Private: private(1)}}, Now: c.now,
		})
		if err != nil {
			t.Fatal(err)
		}
		o.Own = own
	})
	s := peer.Signer()
	const put = "/_matrix/federation/v1/send/1"
	wrong := s
	wrong.Key = private(9)
	unknown := s
	unknown.KeyID = "ed25519:unknown"
	absent := event.Signer{Server: "absent.example", KeyID: "ed25519:a", Key: private(1)}
	remove := func(req *http.Request, what string) *http.Request {
		req.Header.Set("Authorization", strings.Replace(req.Header.Get("Authorization"), what, "", 1))
		return req
	}
	for name, test := range map[string]struct {
		req  *http.Request
		body string
		good bool
	}{
		"a GET":                    {signedRequest(s, "GET", "/_matrix/federation/v1/version?x=%21a&y=b+c", "us.example", "", ""), "", true},
		"a PUT":                    {signedRequest(s, "PUT", put, "us.example", "", `{"a":1}`), `{"a":1}`, true},
		"a body not yet canonical": {signedRequest(s, "PUT", put, "us.example", "", `{"a":1,"b":"ü"}`), "{ \"b\": \"\\u00fc\",\n\"a\": 1 }", true},
		"numbers of old rooms":     {signedRequest(s, "PUT", put, "us.example", "", `{"a":1.5,"b":1.0,"c":123456789012345678901}`), `{"c":123456789012345678901,"a":1.5,"b":1.0}`, true},
		"a float that is whole":    {signedRequest(s, "PUT", put, "us.example", "", `{"b":1.0}`), `{"b":1.0}`, true},
		"for our alias":            {signedRequest(s, "GET", put, "alias.example", "", ""), "", true},
		"no destination written":   {remove(signedRequest(s, "GET", put, "us.example", "", ""), `destination="us.example",`), "", true},
		"no destination signed":    {remove(signedRequest(s, "GET", put, "", "", ""), `destination="",`), "", false},
		"for another server":       {signedRequest(s, "GET", put, "other.example", "", ""), "", false},
		"another body":             {signedRequest(s, "PUT", put, "us.example", "", `{"a":1}`), `{"a":2}`, false},
		"no body":                  {signedRequest(s, "PUT", put, "us.example", "", `{"a":1}`), ``, false},
		"a body where none was":    {signedRequest(s, "PUT", put, "us.example", "", ``), `{}`, false},
		"more behind the body":     {signedRequest(s, "PUT", put, "us.example", "", `{"a":1}`), `{"a":1},"b":2`, false},
		"a body that is not JSON":  {signedRequest(s, "PUT", put, "us.example", "", `{`), `{`, false},
		"a wrong key":              {signedRequest(wrong, "GET", put, "us.example", "", ""), "", false},
		"an unknown key":           {signedRequest(unknown, "GET", put, "us.example", "", ""), "", false},
		"a peer without keys":      {signedRequest(absent, "GET", put, "us.example", "", ""), "", false},
		"no header":                {httptest.NewRequest("GET", put, nil), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			origin, err := r.Authenticate(test.req, []byte(test.body))
			if test.good && (err != nil || origin != "peer.example") {
				t.Errorf("got %q, %v", origin, err)
			}
			if !test.good && (origin != "" || !fault.Is(err, fault.Unauthorized)) {
				t.Errorf("got %q, %v, want a refusal", origin, err)
			}
		})
	}

	moved := signedRequest(s, "GET", put, "us.example", "", "")
	moved.RequestURI += "?more=1"
	if _, err := r.Authenticate(moved, nil); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("another target: %v", err)
	}
	posted := signedRequest(s, "GET", put, "us.example", "", "")
	posted.Method = "POST"
	if _, err := r.Authenticate(posted, nil); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("another method: %v", err)
	}
	odd := signedRequest(s, "GET", put, "us.example", "", "")
	odd.RequestURI = "/\xff"
	if _, err := r.Authenticate(odd, nil); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("a target that is not ASCII: %v", err)
	}
	absolute := signedRequest(s, "GET", put, "us.example", "", "")
	absolute.RequestURI = "https://us.example" + put
	if _, err := r.Authenticate(absolute, nil); err != nil {
		t.Errorf("a target in absolute form: %v", err)
	}
}

func TestSeveralAuthorizationHeaders(t *testing.T) {
	c := newClock()
	peer := mustOwn(t, "peer.example", c)
	r := newRing(t, c, newNetwork(peer))
	good := SignRequest(peer.Signer(), "GET", "/x", "us.example", nil)
	wrong := strings.Replace(good, `sig="`, `sig="AAAA`, 1)
	foreign := strings.Replace(good, "peer.example", "other.example", 1)
	for name, test := range map[string]struct {
		headers []string
		good    bool
	}{
		"one good, one wrong": {[]string{wrong, good}, true},
		"another scheme too":  {[]string{"Bearer abc", good}, true},
		"two origins":         {[]string{good, foreign}, false},
		"one malformed":       {[]string{good, "X-Matrix nonsense"}, false},
		"too many":            {[]string{wrong, wrong, wrong, wrong, good}, false},
	} {
		req := httptest.NewRequest("GET", "/x", nil)
		req.Header["Authorization"] = test.headers
		if _, err := r.Authenticate(req, nil); (err == nil) != test.good {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOldKeysSignNoRequests(t *testing.T) {
	c := newClock()
	expired := c.now().Add(time.Hour)
	old := event.Signer{Server: "peer.example", KeyID: "ed25519:old", Key: private(3)}
	peer := mustOwn(t, "peer.example", c, OwnKey{ID: "ed25519:a", Private: private(4)}, OwnKey{ID: old.KeyID, Private: old.Key, Until: expired})
	r := newRing(t, c, newNetwork(peer))
	if _, err := r.Authenticate(signedRequest(old, "GET", "/x", "us.example", "", ""), nil); err != nil {
		t.Errorf("in its time: %v", err)
	}
	c.pass(2 * time.Hour)
	if _, err := r.Authenticate(signedRequest(old, "GET", "/x", "us.example", "", ""), nil); !fault.Is(err, fault.Unauthorized) {
		t.Errorf("after its time: %v", err)
	}
}

// TestSignRequest holds the signed object to the one of the specification,
// written out.
func TestSignRequest(t *testing.T) {
	s := event.Signer{Server: "a.example", KeyID: "ed25519:1", Key: private(1)}
	a, err := ParseAuthorization(SignRequest(s, "PUT", `/p?q="x\`, "b.example", []byte(`{"k":1}`)))
	if err != nil {
		t.Fatal(err)
	}
	sig, err := base64.RawStdEncoding.DecodeString(a.Signature)
	if err != nil {
		t.Fatal(err)
	}
	signed := `{"content":{"k":1},"destination":"b.example","method":"PUT","origin":"a.example","uri":"/p?q=\"x\\"}`
	if !ed25519.Verify(s.Key.Public().(ed25519.PublicKey), []byte(signed), sig) {
		t.Error("something else was signed")
	}
}

func FuzzParseAuthorization(f *testing.F) {
	f.Add(`X-Matrix origin="a.example:8448",destination="b.example",key="ed25519:key1",sig="ABC/+"`)
	f.Add(`X-Matrix origin=a.example,key=ed25519:1 , sig="A\"B\\"`)
	f.Fuzz(func(t *testing.T, header string) {
		a, err := ParseAuthorization(header)
		if err != nil || strings.ContainsAny(a.Signature+string(a.KeyID), `"\`) {
			return
		}
		if a.Destination == "" {
			a.Destination = a.Origin
		}
		again, err := ParseAuthorization(a.String())
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Fatalf("%q gives %+v, which gives %+v, %v", header, a, again, err)
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	c := newClock()
	doc, err := mustOwn(f, "peer.example", c).Document()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(doc))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := ParseDocument(raw, "peer.example", c.now())
		if err != nil {
			return
		}
		for _, k := range keys {
			if k.Server != "peer.example" || len(k.Public) != ed25519.PublicKeySize || k.ValidUntil > c.now().Add(maxTrust).UnixMilli() {
				t.Fatalf("%q gives %+v", raw, k)
			}
		}
	})
}

func BenchmarkAuthenticate(b *testing.B) {
	c := newClock()
	peer := mustOwn(b, "peer.example", c)
	r := newRing(b, c, newNetwork(peer))
	body := `{"edus":[],"origin":"peer.example","origin_server_ts":1,"pdus":[{"content":{"body":"` + strings.Repeat("x", 600) + `"}}]}`
	req := signedRequest(peer.Signer(), "PUT", "/_matrix/federation/v1/send/1", "us.example", "", body)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Authenticate(req, []byte(body)); err != nil {
			b.Fatal(err)
		}
	}
}
