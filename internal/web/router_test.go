package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
)

// tokens authenticates users by a table.
type tokens map[string]Principal

// Authenticate looks the token up.
func (t tokens) Authenticate(_ context.Context, cred Credentials) (Principal, error) {
	p, ok := t[cred.Token]
	if !ok {
		err := fault.New(fault.UnknownToken, "Unknown token")
		err.SoftLogout = cred.Token == "soft"
		return Principal{}, err
	}
	if cred.AssertUser != "" {
		p.User, p.Device = cred.AssertUser, cred.AssertDevice
	}
	return p, nil
}

var people = tokens{
	"alice": {User: "@alice:a.example", Device: "PHONE"},
	"guest": {User: "@7:a.example", Guest: true},
	"admin": {User: "@admin:a.example", Admin: true},
	"bot":   {User: "@bot:a.example", Unlimited: true},
}

// peers takes the origin from a header, if the body is what was signed.
func peers(r *http.Request, body []byte) (string, error) {
	if signed := r.Header.Get("X-Signed"); signed != string(body) {
		return "", fault.New(fault.Unauthorized, "Bad signature")
	}
	return r.Header.Get("X-Origin"), nil
}

// serve makes a router of routes with sound options.
func serve(t testing.TB, opts Options, routes ...Route) *Router {
	t.Helper()
	opts.Users, opts.Peers = people, peers
	rt, err := New(opts, routes...)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// ask makes a request and answers what came back. Headers are pairs.
func ask(h http.Handler, method, target, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// echo answers the route's parameters.
func echo(names ...string) Handler {
	return func(_ context.Context, c *Call) (any, error) {
		values := make([]string, len(names))
		for i, name := range names {
			values[i] = c.Path(name)
		}
		return values, nil
	}
}

func get(path string, handle Handler) Route {
	return Route{Method: "GET", Path: path, Auth: AuthNone, Handle: handle}
}

func TestPathsMatchBySegmentAndAreUnescapedAfterwards(t *testing.T) {
	state := get("/c/rooms/{room}/state/{type}/{key}", echo("room", "type", "key"))
	state.OptionalTail = true
	rt := serve(t, Options{},
		get("/c/rooms/{room}/messages", echo("room")),
		get("/c/rooms/{room}/state", echo("room")),
		state,
		get("/c/rooms/{room}/{verb}", echo("room", "verb")),
		get("/c/rooms/public/list", echo()),
		get("/console/{file...}", echo("file")),
	)
	for _, tc := range []struct {
		target string
		want   string // JSON, or the errcode
	}{
		{"/c/rooms/!a:b/messages", `["!a:b"]`},
		{"/c/rooms/%21a%3Ab/messages", `["!a:b"]`},
		{"/c/rooms/!a%2Fb/messages", `["!a/b"]`},
		{"/c/rooms/!a%252Fb/messages", `["!a%2Fb"]`},
		{"/c/rooms/a%20b/messages", `["a b"]`},
		{"/c/rooms/a%25b/messages", `["a%b"]`},
		{"/c/rooms/%F0%9F%98%80/messages", `["😀"]`},
		{"/c/rooms/%FF/messages", "M_INVALID_PARAM"},
		{"/c/rooms/!a%2F%FF/messages", "M_INVALID_PARAM"},
		{"/c/rooms/!a/state", `["!a"]`},
		{"/c/rooms/!a/state/m.room.name", `["!a","m.room.name",""]`},
		{"/c/rooms/!a/state/m.room.name/", `["!a","m.room.name",""]`},
		{"/c/rooms/!a/state/m.room.name/@u:s%2Fx", `["!a","m.room.name","@u:s/x"]`},
		{"/c/rooms/!a/state/m.room.name/.", `["!a","m.room.name","."]`},
		{"/c/rooms/!a/state/m.room.name/..", `["!a","m.room.name",".."]`},
		{"/c/rooms/!a/state/m.room.name/a/b", "M_UNRECOGNIZED"},
		{"/c/rooms/!a/join", `["!a","join"]`},
		{"/c/rooms/public/list", `[]`},
		{"/c/rooms/public/join", `["public","join"]`},
		{"/c/rooms//messages", "M_UNRECOGNIZED"},
		{"//c/rooms/!a/messages", "M_UNRECOGNIZED"},
		{"/c/rooms/!a/messages/", "M_UNRECOGNIZED"},
		{"/c/rooms", "M_UNRECOGNIZED"},
		{"/console/js/app.js", `["js/app.js"]`},
		{"/console/", `[""]`},
		{"/", "M_UNRECOGNIZED"},
	} {
		w := ask(rt, "GET", tc.target, "")
		got := strings.TrimSpace(w.Body.String())
		if code := errcode(w); code != "" {
			got = code
		}
		if got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.target, got, tc.want)
		}
	}
}

// valueIn reads a counter or a gauge.
func valueIn(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var out dto.Metric
	if err := metric.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.GetCounter().GetValue() + out.GetGauge().GetValue()
}

func errcode(w *httptest.ResponseRecorder) string {
	var body struct{ Errcode string }
	_ = json.Unmarshal(w.Body.Bytes(), &body)
	return body.Errcode
}

func TestMethods(t *testing.T) {
	called := 0
	rt := serve(t, Options{},
		Route{Method: "PUT", Path: "/x/{id}", Auth: AuthUser, Handle: func(context.Context, *Call) (any, error) {
			called++
			return nil, nil
		}},
		Route{Method: "GET", Path: "/x/{id}", Auth: AuthNone, Handle: echo("id")},
	)
	if w := ask(rt, "DELETE", "/x/1", ""); w.Code != 405 || errcode(w) != "M_UNRECOGNIZED" || w.Header().Get("Allow") != "PUT, GET, OPTIONS" {
		t.Errorf("an unknown method got %d %s, Allow %q", w.Code, w.Body, w.Header().Get("Allow"))
	}
	if w := ask(rt, "HEAD", "/x/1", ""); w.Code != 200 || w.Header().Get("Content-Length") != "5" {
		t.Errorf("HEAD got %d, length %s", w.Code, w.Header().Get("Content-Length"))
	}
	if w := ask(rt, "OPTIONS", "/x/1", ""); w.Code != 204 || w.Body.Len() != 0 || called != 0 {
		t.Errorf("OPTIONS got %d %q, and the handler ran %d times", w.Code, w.Body, called)
	}
	for _, w := range []*httptest.ResponseRecorder{
		ask(rt, "OPTIONS", "/x/1", ""), ask(rt, "GET", "/x/1", ""), ask(rt, "GET", "/nothing", ""), ask(rt, "PUT", "/x/1", ""),
	} {
		if w.Header().Get("Access-Control-Allow-Origin") != "*" || w.Header().Get("Access-Control-Allow-Headers") == "" {
			t.Errorf("an answer with status %d lacks CORS headers: %v", w.Code, w.Header())
		}
	}
}

func TestWhoMayCall(t *testing.T) {
	who := func(_ context.Context, c *Call) (any, error) {
		return fmt.Sprintf("%q", c.User()+id.UserID(c.Device())+id.UserID(c.Origin())), nil
	}
	var routes []Route
	for name, auth := range map[string]Auth{
		"none": AuthNone, "optional": AuthOptional, "user": AuthUser, "guest": AuthGuest, "admin": AuthAdmin, "server": AuthServer,
	} {
		routes = append(routes, Route{Method: "POST", Path: "/" + name, Auth: auth, Handle: who})
	}
	rt := serve(t, Options{}, routes...)
	for _, tc := range []struct {
		path, token string
		status      int
		want        string // a part of the answer
	}{
		{"/none", "", 200, `""`},
		{"/none", "wrong", 200, `""`},
		{"/optional", "", 200, `""`},
		{"/optional", "alice", 200, "@alice:a.example"},
		{"/optional", "wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/user", "", 401, "M_MISSING_TOKEN"},
		{"/user", "wrong", 401, "M_UNKNOWN_TOKEN"},
		{"/user", "soft", 401, `"soft_logout":true`},
		{"/user", "guest", 403, "M_FORBIDDEN"},
		{"/user", "alice", 200, "@alice:a.examplePHONE"},
		{"/guest", "guest", 200, "@7:a.example"},
		{"/admin", "alice", 403, "M_FORBIDDEN"},
		{"/admin", "admin", 200, "@admin:a.example"},
		{"/user?user_id=@b:a.example&device_id=D", "alice", 200, "@b:a.exampleD"},
		{"/user?access_token=alice", "", 401, "M_MISSING_TOKEN"},
	} {
		headers := []string{}
		if tc.token != "" {
			headers = []string{"Authorization", "bearer " + tc.token}
		}
		w := ask(rt, "POST", tc.path, "{}", headers...)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s with token %q: got %d %s, want %d %s", tc.path, tc.token, w.Code, w.Body, tc.status, tc.want)
		}
	}
	if w := ask(rt, "POST", "/server", `{"a":1}`, "X-Signed", `{"a":1}`, "X-Origin", "b.example"); w.Code != 200 || w.Body.String() != `"b.example"` {
		t.Errorf("a signed request got %d %s", w.Code, w.Body)
	}
	if w := ask(rt, "POST", "/server", `{"a":2}`, "X-Signed", `{"a":1}`); w.Code != 401 || errcode(w) != "M_UNAUTHORIZED" {
		t.Errorf("a forged request got %d %s", w.Code, w.Body)
	}
	query := serve(t, Options{QueryToken: true}, routes...)
	if w := ask(query, "POST", "/user?access_token=alice", "{}"); w.Code != 200 {
		t.Errorf("a token in the query got %d although they are on", w.Code)
	}
}

func TestTableMistakesAreFoundWhenTheRouterIsMade(t *testing.T) {
	handle := echo()
	_, err := New(Options{},
		Route{Method: "GET", Path: "/open", Handle: handle},
		Route{Method: "GET", Path: "/user", Auth: AuthUser, Handle: handle},
		Route{Method: "GET", Path: "/server", Auth: AuthServer, Handle: handle},
		Route{Method: "get", Path: "/lower", Auth: AuthNone, Handle: handle},
		Route{Method: "GET", Path: "/nohandler", Auth: AuthNone},
		Route{Method: "GET", Path: "relative", Auth: AuthNone, Handle: handle},
		Route{Method: "GET", Path: "/rate", Auth: AuthNone, Rate: classes, Handle: handle},
		get("/twice/{a}", handle), get("/twice/{b}", handle),
		get("/tail/{a...}/b", handle),
		get("/{a}/{b}/{c}/{d}/{e}/{f}/{g}", handle),
	)
	for _, want := range []string{
		"/open does not say who may call", "/user wants users", "/server wants servers", "/lower has no proper method",
		"/nohandler has no handler", `"relative" does not start`, "/rate has no such rate class", "GET /twice/{b} and /twice/{a}",
		`"/tail/{a...}/b" goes on`, "more than 6 parameters",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
}

func TestErrorsAnswerByTheirKind(t *testing.T) {
	incompatible := fault.New(fault.IncompatibleVersion, "No")
	incompatible.RoomVersion = "13"
	limited := fault.New(fault.Limited, "Slow down")
	limited.RetryAfter = 1500 * time.Millisecond
	for _, tc := range []struct {
		err    error
		status int
		body   string
		after  string
	}{
		{fault.New(fault.Forbidden, "No %s", "entry"), 403, `{"errcode":"M_FORBIDDEN","error":"No entry"}`, ""},
		{fmt.Errorf("join: %w", fault.New(fault.NotFound, "No room")), 404, `{"errcode":"M_NOT_FOUND","error":"No room"}`, ""},
		{limited, 429, `{"errcode":"M_LIMIT_EXCEEDED","error":"Slow down","retry_after_ms":1500}`, "2"},
		{incompatible, 400, `{"errcode":"M_INCOMPATIBLE_ROOM_VERSION","error":"No","room_version":"13"}`, ""},
		{errors.New("disk full at /secret"), 500, `{"errcode":"M_UNKNOWN","error":"Internal server error"}`, ""},
		{fault.New(fault.Internal, "secret"), 500, `{"errcode":"M_UNKNOWN","error":"Internal server error"}`, ""},
		{fault.Wrap(errors.New("refused 10.0.0.1"), fault.Unreachable, "No answer"), 502, `{"errcode":"M_UNKNOWN","error":"No answer"}`, ""},
		{context.DeadlineExceeded, 503, `{"errcode":"M_UNKNOWN","error":"The server cannot serve this now"}`, ""},
		{fault.New(fault.Conflict, ""), 409, `{"errcode":"M_UNKNOWN","error":"Conflict"}`, ""},
		{fault.New(fault.Kind(999), "odd"), 500, `{"errcode":"M_UNKNOWN","error":"odd"}`, ""},
	} {
		rt := serve(t, Options{}, get("/x", func(context.Context, *Call) (any, error) { return nil, tc.err }))
		w := ask(rt, "GET", "/x", "")
		if w.Code != tc.status || w.Body.String() != tc.body || w.Header().Get("Retry-After") != tc.after {
			t.Errorf("%v: got %d %s, Retry-After %q", tc.err, w.Code, w.Body, w.Header().Get("Retry-After"))
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%v: content type %q", tc.err, got)
		}
	}
}

func TestEveryKindOfErrorHasAStatusAndAnErrcode(t *testing.T) {
	for kind := fault.Internal; kind <= fault.Conflict; kind++ {
		status, code := Status(fault.New(kind, "x"))
		if status < 400 || status > 599 || !strings.HasPrefix(code, "M_") {
			t.Errorf("kind %d answers %d %q", kind, status, code)
		}
	}
}

type appended string

// AppendJSON appends the text, or fails.
func (a appended) AppendJSON(dst []byte) ([]byte, error) {
	if a == "" {
		return nil, errors.New("nothing")
	}
	return append(dst, a...), nil
}

func TestAnswers(t *testing.T) {
	for _, tc := range []struct {
		name   string
		answer any
		status int
		kind   string
		body   string
	}{
		{"nil is an empty object", nil, 200, "application/json", `{}`},
		{"Empty", Empty, 200, "application/json", `{}`},
		{"a struct", struct {
			A string `json:"a"`
		}{"<&>"}, 200, "application/json", `{"a":"<&>"}`},
		{"raw JSON", json.RawMessage(`{"b": 1}`), 200, "application/json", `{"b": 1}`},
		{"an appender", appended(`{"c":1}`), 200, "application/json", `{"c":1}`},
		{"an appender that fails", appended(""), 500, "application/json", `{"errcode":"M_UNKNOWN","error":"Internal server error"}`},
		{"a value without JSON", func() {}, 500, "application/json", `{"errcode":"M_UNKNOWN","error":"Internal server error"}`},
		{"another status", Answer{Status: 401, Body: map[string]int{"flows": 1}}, 401, "application/json", `{"flows":1}`},
		{"text", Answer{ContentType: "text/plain", Body: "hello"}, 200, "text/plain", "hello"},
		{"bytes", Answer{ContentType: "image/png", Body: []byte("png")}, 200, "image/png", "png"},
		{"an appender with a status", Answer{Status: 202, Body: appended(`{"d":1}`)}, 202, "application/json", `{"d":1}`},
	} {
		rt := serve(t, Options{}, get("/x", func(context.Context, *Call) (any, error) { return tc.answer, nil }))
		w := ask(rt, "GET", "/x", "")
		if w.Code != tc.status || w.Body.String() != tc.body || w.Header().Get("Content-Type") != tc.kind {
			t.Errorf("%s: got %d %q %q", tc.name, w.Code, w.Header().Get("Content-Type"), w.Body)
		}
	}
	rt := serve(t, Options{}, get("/x", func(context.Context, *Call) (any, error) { return Redirect("https://a.example/"), nil }))
	if w := ask(rt, "GET", "/x", ""); w.Code != 302 || w.Header().Get("Location") != "https://a.example/" || w.Body.Len() != 0 {
		t.Errorf("a redirect got %d %v", w.Code, w.Header())
	}
}

func TestLargeAndStreamedAnswersOverASocket(t *testing.T) {
	large := appended(`"` + strings.Repeat("x", 1<<20) + `"`)
	rt := serve(t, Options{},
		get("/large", func(context.Context, *Call) (any, error) { return large, nil }),
		get("/stream", func(context.Context, *Call) (any, error) {
			return Stream(func(w http.ResponseWriter, _ *http.Request) error {
				w.Header().Set("Content-Type", "text/plain")
				for range 100 {
					if _, err := w.Write(bytes.Repeat([]byte("y"), 10_000)); err != nil {
						return err
					}
				}
				return nil
			}), nil
		}),
		get("/early", func(context.Context, *Call) (any, error) {
			return Stream(func(http.ResponseWriter, *http.Request) error { return fault.New(fault.NotFound, "Gone") }), nil
		}),
		get("/late", func(context.Context, *Call) (any, error) {
			return Stream(func(w http.ResponseWriter, _ *http.Request) error {
				_, _ = w.Write([]byte("half"))
				return errors.New("the disk is gone")
			}), nil
		}),
	)
	server := httptest.NewServer(rt)
	defer server.Close()
	fetch := func(path string) (int, int, error) {
		response, err := http.Get(server.URL + path)
		if err != nil {
			return 0, 0, err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		return response.StatusCode, len(body), err
	}
	for range 2 { // the second request finds the connection usable
		if status, n, err := fetch("/large"); status != 200 || n != 1<<20+2 || err != nil {
			t.Errorf("the large answer: %d, %d bytes, %v", status, n, err)
		}
		if status, n, err := fetch("/stream"); status != 200 || n != 1_000_000 || err != nil {
			t.Errorf("the streamed answer: %d, %d bytes, %v", status, n, err)
		}
	}
	if status, _, err := fetch("/early"); status != 404 || err != nil {
		t.Errorf("a stream that fails before it begins: %d, %v", status, err)
	}
	if _, _, err := fetch("/late"); err == nil {
		t.Error("a stream that fails after it began looks complete")
	}
}

func TestPanicsAnswer500AndAreLogged(t *testing.T) {
	var log bytes.Buffer
	reg := prometheus.NewRegistry()
	rt := serve(t, Options{Logger: slog.New(slog.NewJSONHandler(&log, nil)), Metrics: NewMetrics(reg)},
		get("/panic", func(context.Context, *Call) (any, error) { panic("broken") }))
	w := ask(rt, "GET", "/panic", "")
	if w.Code != 500 || errcode(w) != "M_UNKNOWN" || strings.Contains(w.Body.String(), "broken") {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if id := w.Header().Get("X-Request-Id"); id == "" || !strings.Contains(log.String(), id) {
		t.Errorf("the request ID %q is not in the log", id)
	}
	if !strings.Contains(log.String(), "panic: broken") || !strings.Contains(log.String(), "router_test.go") {
		t.Errorf("the log does not say where it panicked: %s", log.String())
	}
	if n := valueIn(t, rt.opts.Metrics.panics); n != 1 {
		t.Errorf("%v panics counted", n)
	}
}

func TestOneRecordARequestWithoutSecrets(t *testing.T) {
	var log bytes.Buffer
	clock := time.Unix(1000, 0)
	rt := serve(t, Options{
		Logger: slog.New(slog.NewJSONHandler(&log, nil)), QueryToken: true,
		Now: func() time.Time { clock = clock.Add(time.Millisecond); return clock },
	},
		Route{Method: "POST", Path: "/rooms/{room}/send", Auth: AuthUser, Handle: func(context.Context, *Call) (any, error) {
			return nil, fault.New(fault.Forbidden, "You are not in the room")
		}},
		Route{Method: "GET", Path: "/broken", Auth: AuthServer, Handle: func(context.Context, *Call) (any, error) {
			return nil, fmt.Errorf("read events: %w", errors.New("disk full"))
		}},
	)
	ask(rt, "POST", "/rooms/!secret:a/send?access_token=alice", `{"body":"hidden"}`)
	ask(rt, "GET", "/broken", "", "X-Origin", "b.example")
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("two requests made %d records: %s", len(lines), log.String())
	}
	var first, second map[string]any
	if err := errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[1]), &second)); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"level": "INFO", "msg": "request", "method": "POST", "route": "/rooms/{room}/send", "status": 403.0, "ms": 1.0,
		"in": 17.0, "user": "@alice:a.example", "errcode": "M_FORBIDDEN", "remote": "192.0.2.1",
	} {
		if first[key] != want {
			t.Errorf("the record has %s %v, want %v", key, first[key], want)
		}
	}
	for key, want := range map[string]any{"level": "ERROR", "origin": "b.example", "cause": "read events: disk full"} {
		if second[key] != want {
			t.Errorf("the record of the failure has %s %v, want %v", key, second[key], want)
		}
	}
	if first["id"] == second["id"] {
		t.Error("two requests share an ID")
	}
	for _, hidden := range []string{"access_token", `"alice"`, "hidden", "!secret"} {
		if strings.Contains(log.String(), hidden) {
			t.Errorf("the log holds %s", hidden)
		}
	}
}

func TestMetricsCountByRouteAndCode(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	rt := serve(t, Options{Metrics: m}, get("/x/{id}", echo("id")))
	for i := range 3 {
		ask(rt, "GET", fmt.Sprintf("/x/%d", i), "")
	}
	ask(rt, "GET", "/elsewhere", "")
	if n := valueIn(t, m.requests.WithLabelValues("GET", "/x/{id}", "2xx")); n != 3 {
		t.Errorf("%v requests counted for the route", n)
	}
	if n := valueIn(t, m.requests.WithLabelValues("any", "unmatched", "4xx")); n != 1 {
		t.Errorf("%v requests counted without a route", n)
	}
	if n := valueIn(t, m.sent); n == 0 {
		t.Error("no bytes counted")
	}
	if n := valueIn(t, m.inFlight); n != 0 {
		t.Errorf("%v requests still in flight", n)
	}
	families, err := reg.Gather()
	if err != nil || !slices.ContainsFunc(families, func(f *dto.MetricFamily) bool {
		return f.GetName() == "entente_http_request_seconds"
	}) {
		t.Errorf("the durations are not there: %v", err)
	}
}

func TestACallerWhoHungUpIsNotAnError(t *testing.T) {
	var log bytes.Buffer
	rt := serve(t, Options{Logger: slog.New(slog.NewJSONHandler(&log, nil))},
		get("/x", func(ctx context.Context, _ *Call) (any, error) { return nil, ctx.Err() }))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	rt.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/x", nil))
	if !strings.Contains(log.String(), `"status":499`) || strings.Contains(log.String(), "ERROR") {
		t.Errorf("logged %s", log.String())
	}
}

func TestACallEndsInTime(t *testing.T) {
	rt := serve(t, Options{Timeout: time.Millisecond}, get("/x", func(ctx context.Context, _ *Call) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}), Route{Method: "GET", Path: "/poll", Auth: AuthNone, Timeout: -1, Handle: func(ctx context.Context, _ *Call) (any, error) {
		_, bounded := ctx.Deadline()
		return bounded, nil
	}})
	if w := ask(rt, "GET", "/x", ""); w.Code != 503 {
		t.Errorf("a call past its time got %d", w.Code)
	}
	if w := ask(rt, "GET", "/poll", ""); w.Body.String() != "false" {
		t.Errorf("a long poll is bounded: %s", w.Body)
	}
}
