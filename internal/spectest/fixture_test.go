package spectest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A specification in small, so that these tests need no checkout.
var fixture = map[string]string{
	"data/api/client-server/things.yaml": `
info: {title: Things}
paths:
  "/things/{id}":
    get:
      operationId: getThing
      security: [{accessTokenBearer: []}]
      responses:
        "200":
          content:
            application/json:
              schema: {$ref: definitions/thing.yaml}
        "401":
          content:
            application/json:
              schema: {type: object, required: [flows, session]}
        "404":
          $ref: "#/components/responses/gone"
    delete:
      operationId: dropThing
      deprecated: true
      responses: {"200": {description: nothing said}}
  "/things/all":
    get:
      operationId: allThings
      responses:
        "200":
          content:
            application/json:
              schema: {type: array, maxItems: 2, items: {$ref: definitions/thing.yaml}}
  "/media/{id}":
    get:
      operationId: media
      responses: {"200": {content: {"*/*": {schema: {type: string}}}}}
components:
  responses:
    gone:
      content:
        application/json:
          schema: {type: object, required: [errcode], properties: {errcode: {enum: [M_GONE]}}}
servers:
  - variables: {basePath: {default: /_matrix/client/v3}}
`,
	"data/api/client-server/definitions/thing.yaml": `
title: Thing
allOf:
  - type: object
    required: [owner]
    properties:
      owner: {type: string, format: mx-user-id, pattern: "^@"}
      count: {type: integer, format: int64}
      ratio: {type: number}
      mode: {type: string, enum: [red, green]}
      name: {type: [string, "null"]}
      tags:
        additionalProperties: {oneOf: [{type: string}, {type: object, required: [order], properties: {order: {type: number}}}]}
      by_event:
        patternProperties: {"^\\$": {x-pattern-format: mx-event-id, type: boolean}}
      parts: {type: array, items: {$ref: thing.yaml}}
      avatar: {type: string, format: mx-mxc-uri}
      closed: {type: object, additionalProperties: false, properties: {a: {}}}
`,
	"data/api/client-server/definitions/errors/error.yaml": `
type: object
required: [errcode]
properties: {errcode: {type: string}}
`,
	"data/api/server-server/version.yaml": `
info: {title: Version}
paths:
  "/version": {get: {operationId: getVersion, responses: {"200": {description: ok}}}}
servers:
  - variables: {basePath: {default: /_matrix/federation/v1}}
`,
	"data/event-schemas/schema/m.room.thing.yaml": "type: object\n",
	"content/client-server-api/_index.md": "# Top {#the-top}\n## Rate limiting\n## Rate limiting\n```\n# not a heading\n```\n" +
		"### The `m.thing` [event](#x)\n{{% event event=\"m.room.thing\" %}}\n{{% http-api spec=\"client-server\" api=\"things\" %}}\n" +
		"{{% cs-module name=\"Extra\" filename=\"extra\" %}}\n{{% definition path=\"api/client-server/definitions/thing\" %}}\n",
	"content/client-server-api/modules/extra.md": "---\ntitle: x\n---\n#### Client behaviour {id=\"extra-client\"}\n<a id=\"m-extra\"></a>\n",
	"content/rooms/v12.md":                       "## Rules\n{{% rver-fragment name=\"auth\" %}}\n",
	"content/rooms/fragments/auth.md":            "### Auth rules: 2.1\n",
}

func open(t testing.TB) *Spec {
	t.Helper()
	root := t.TempDir()
	for name, text := range fixture {
		file := filepath.Join(root, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(root)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestResponseIsHeldToItsSchema(t *testing.T) {
	s := open(t)
	const thing = "/_matrix/client/v3/things/a%2Fb"
	tests := []struct {
		name, path string
		status     int
		body       string
		want       string // part of the error; "" when the answer is right
	}{
		{"right", thing, 200, `{"owner":"@a:b","count":3,"ratio":1.5,"mode":"red","name":null,"extra":{}}`, ""},
		{"missing property", thing, 200, `{}`, `/: want the property "owner"`},
		{"wrong type", thing, 200, `{"owner":7}`, "/owner: want string, got integer 7"},
		{"wrong format", thing, 200, `{"owner":"@a"}`, "format mx-user-id"},
		{"wrong pattern", thing, 200, `{"owner":"a:b"}`, "matches ^@"},
		{"not an integer", thing, 200, `{"owner":"@a:b","count":1.0}`, "/count: want integer, got number 1.0"},
		{"beyond int64", thing, 200, `{"owner":"@a:b","count":9223372036854775808}`, "format int64"},
		{"not in the enum", thing, 200, `{"owner":"@a:b","mode":"blue"}`, `/mode: want one of`},
		{"either form", thing, 200, `{"owner":"@a:b","tags":{"x":"s","y":{"order":0.5}}}`, ""},
		{"neither form", thing, 200, `{"owner":"@a:b","tags":{"x":{"order":"first"}}}`, "/tags/x/order: want (in the nearest of several forms) number"},
		{"key of a pattern", thing, 200, `{"owner":"@a:b","by_event":{"$x":1}}`, "/by_event/$x: want boolean"},
		{"key that is no identifier", thing, 200, `{"owner":"@a:b","by_event":{"x":true}}`, "a key in the format mx-event-id"},
		{"recursion", thing, 200, `{"owner":"@a:b","parts":[{"owner":"@a:b","parts":[{}]}]}`, "/parts/0/parts/0: want the property"},
		{"empty media URI", thing, 200, `{"owner":"@a:b","avatar":"mxc://"}`, "mx-mxc-uri"},
		{"closed object", thing, 200, `{"owner":"@a:b","closed":{"b/c":1}}`, "/closed/b~1c: want no property"},
		{"not JSON", thing, 200, `{"owner"`, "not JSON"},
		{"two values", thing, 200, `{"owner":"@a:b"}{}`, "more after"},
		{"literal before parameter", "/_matrix/client/v3/things/all", 200, `[]`, ""},
		{"too many items", "/_matrix/client/v3/things/all", 200, `[{"owner":"@a:b"},{"owner":"@a:b"},{"owner":"@a:b"}]`, "at most 2 items"},
		{"listed error", thing, 404, `{"errcode":"M_NOT_FOUND"}`, "M_GONE"},
		{"unlisted error", thing, 403, `{"error":"no"}`, `want the property "errcode"`},
		{"authentication wanted", thing, 401, `{"flows":[]}`, `want the property "session"`},
		{"token unknown where authentication may be wanted", thing, 401, `{"errcode":"M_UNKNOWN_TOKEN"}`, ""},
		{"endpoint unknown to the specification", "/_matrix/client/unstable/x", 200, `[`, ""},
		{"answer that is not JSON by the specification", "/_matrix/client/v3/media/x", 200, `bytes`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := s.Response(Answer{Method: "GET", Path: tt.path, Status: tt.status, Body: []byte(tt.body), Header: http.Header{"Content-Type": {"application/json"}}})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// recorder is a testing.TB that keeps what a test would have reported.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Helper() {}

func TestHandlerAndTransportReportWrongAnswers(t *testing.T) {
	s := open(t)
	plain := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("type") != "none" {
			w.Header().Set("Content-Type", "application/json")
		}
		_, _ = io.WriteString(w, r.URL.Query().Get("body"))
	})
	tests := []struct{ query, want string }{
		{`?body={"owner":"@a:b"}`, ""},
		{`?body={}`, "the property"},
		{`?type=none&body={"owner":"@a:b"}`, "Content-Type"},
	}
	for _, tt := range tests {
		byHandler, byTransport := &recorder{TB: t}, &recorder{TB: t}
		server := httptest.NewServer(s.Handler(byHandler, plain))
		client := &http.Client{Transport: s.Transport(byTransport, http.DefaultTransport)}
		resp, err := client.Get(server.URL + "/_matrix/client/v3/things/1" + tt.query)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil || len(body) == 0 {
			t.Errorf("%s: the body did not pass through: %q, %v", tt.query, body, err)
		}
		server.Close()
		for who, r := range map[string]*recorder{"handler": byHandler, "transport": byTransport} {
			if got := strings.Join(r.errors, "\n"); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("%s, %s: reported %q, want %q", tt.query, who, got, tt.want)
			}
		}
	}
}

func TestCoverageCountsWhatIsServed(t *testing.T) {
	s := open(t)
	table := []Implemented{
		{"GET", "/_matrix/client/v3/things/{thing:[^/]{1,3}}"},
		{"GET", "/_matrix/federation/v1/version"},
		{"POST", "/_synapse/admin/v1/register"},
	}
	page := s.Coverage(table)
	for _, want := range []string{
		"| Client-Server API | 4 | 1 | 3 | 1 |",
		"| Server-Server API | 1 | 1 | 0 | 0 |",
		"### things (1 of 4)",
		"| ✓ | `GET /_matrix/client/v3/things/{id}` | user | getThing |",
		"| – | `DELETE /_matrix/client/v3/things/{id}` | none | dropThing (deprecated) |",
		"## Beyond the specification\n\n- `POST /_synapse/admin/v1/register`\n",
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	file := filepath.Join(t.TempDir(), "coverage.md")
	t.Setenv(EnvUpdate, "1")
	s.CheckPage(t, file, table)
	t.Setenv(EnvUpdate, "")
	s.CheckPage(t, file, table)
	stale := &recorder{TB: t}
	if s.CheckPage(stale, file, table[:1]); len(stale.errors) != 1 {
		t.Errorf("a stale page was reported as %q", stale.errors)
	}
}

func TestAnchors(t *testing.T) {
	s := open(t)
	tests := []struct {
		page, anchor string
		exists       bool
	}{
		{"client-server-api", "the-top", true},
		{"client-server-api", "rate-limiting", true},
		{"client-server-api", "rate-limiting-1", true},
		{"client-server-api", "rate-limiting-2", false},
		{"client-server-api", "not-a-heading", false},
		{"client-server-api", "the-mthing-event", true},
		{"client-server-api", "mroomthing", true},
		{"client-server-api", "get_matrixclientv3thingsid", true},
		{"client-server-api", "get_matrixclientv3thingsid_response-200_thing", true},
		{"client-server-api", "put_matrixclientv3thingsid", false},
		{"client-server-api", "extra-client", true},
		{"client-server-api", "m-extra", true},
		{"client-server-api", "definition-thing", true},
		{"rooms/v12", "auth-rules-21", true},
		{"rooms/v99", "rules", false},
	}
	for _, tt := range tests {
		if err := s.CheckAnchor(tt.page, tt.anchor); (err == nil) != tt.exists {
			t.Errorf("%s#%s: %v, want it to exist: %v", tt.page, tt.anchor, err, tt.exists)
		}
	}
}

func TestCheckAnchorsReadsCommentsOfGoFiles(t *testing.T) {
	s := open(t)
	root := t.TempDir()
	source := "package p\n\n// A does. Spec: client-server-api/#rate-limiting. And more.\n// Spec: rooms/v12/#rules, client-server-api/#nothing\n// Spec: rooms/v12/.\nfunc A() {}\n\n" +
		"/*\nSpec: see elsewhere\n*/\nvar b = \"// Spec: rooms/v12/#in-a-string\"\n"
	files := map[string]string{"p.go": source, "testdata/q.go": "package q\n// Spec: x/#y\n", "notes.txt": "// Spec: x/#y\n"}
	for name, text := range files {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, err := range s.CheckAnchors(root) {
		got = append(got, strings.TrimPrefix(err.Error(), root+string(filepath.Separator)))
	}
	want := []string{"p.go:4: client-server-api has no anchor #nothing", `p.go:9: the specification has no page "see"`}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte(`{"owner":"@a:b","parts":[{"tags":{"x":{}}}]}`))
	f.Add([]byte(`[1e999,"\ud800"]`))
	s := open(f)
	f.Fuzz(func(_ *testing.T, body []byte) {
		_ = s.Response(Answer{Method: "GET", Path: "/_matrix/client/v3/things/1", Status: 200, Body: body})
	})
}
