package web

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"entente/internal/fault"
)

// decoding answers what a handler decoded.
func decoding(decode func(*Call, any) error) Handler {
	return func(_ context.Context, c *Call) (any, error) {
		var v struct {
			Name string         `json:"name"`
			Age  int            `json:"age"`
			Sub  map[string]any `json:"sub"`
		}
		if err := decode(c, &v); err != nil {
			return nil, err
		}
		return v.Name, nil
	}
}

func TestDecode(t *testing.T) {
	rt := serve(t, Options{MaxBody: 1000, MaxDepth: 10},
		Route{Method: "POST", Path: "/must", Auth: AuthNone, Handle: decoding((*Call).Decode)},
		Route{Method: "POST", Path: "/may", Auth: AuthNone, Handle: decoding((*Call).DecodeOptional)},
		Route{Method: "POST", Path: "/small", Auth: AuthNone, MaxBody: 10, Handle: decoding((*Call).Decode)},
		Route{Method: "POST", Path: "/json", Auth: AuthNone, Handle: func(_ context.Context, c *Call) (any, error) { return c.JSON() }},
	)
	for _, tc := range []struct{ name, path, body, want string }{
		{"an object", "/must", `{"name":"a","age":1}`, "a"},
		{"space before the object", "/must", " \r\n\t{\"name\":\"a\"}", "a"},
		{"unknown keys are ignored", "/must", `{"name":"a","x":[1,{}]}`, "a"},
		{"of duplicate keys the last counts", "/must", `{"name":"a","name":"b"}`, "b"},
		{"a wrong type", "/must", `{"name":1}`, "M_BAD_JSON"},
		{"a fraction for an integer", "/must", `{"age":1.5}`, "M_BAD_JSON"},
		{"a number out of range", "/must", `{"age":1e99}`, "M_BAD_JSON"},
		{"a list", "/must", `[]`, "M_BAD_JSON"},
		{"null", "/must", `null`, "M_BAD_JSON"},
		{"no body", "/must", ``, "M_NOT_JSON"},
		{"half a body", "/must", `{"name":`, "M_NOT_JSON"},
		{"two bodies", "/must", `{}{}`, "M_NOT_JSON"},
		{"text", "/must", `name=a`, "M_NOT_JSON"},
		{"not UTF-8", "/must", "{\"name\":\"\xff\"}", "M_NOT_JSON"},
		{"too deep", "/must", `{"sub":` + strings.Repeat(`{"a":`, 20) + `1` + strings.Repeat(`}`, 21), "M_BAD_JSON"},
		{"brackets in a string are not depth", "/must", `{"name":"a","x":"` + strings.Repeat(`{[\"`, 20) + `"}`, "a"},
		{"as deep as allowed", "/must", `{"name":"a","sub":` + strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 10), "a"},
		{"too large", "/must", `{"name":"` + strings.Repeat("x", 1000) + `"}`, "M_TOO_LARGE"},
		{"too large for the route", "/small", `{"name":"abc"}`, "M_TOO_LARGE"},
		{"no body where it may be absent", "/may", ``, ""},
		{"only space where it may be absent", "/may", " \n", ""},
		{"a list where a body may be absent", "/may", `[]`, "M_BAD_JSON"},
		{"raw JSON", "/json", `{"a": 1}`, `{"a": 1}`},
		{"raw JSON that is none", "/json", `{"a"}`, "M_NOT_JSON"},
		{"raw JSON that is no object", "/json", `"a"`, "M_BAD_JSON"},
	} {
		w := ask(rt, "POST", tc.path, tc.body)
		got := w.Body.String()
		if code := errcode(w); code != "" {
			got = code
		} else if text := ""; json.Unmarshal(w.Body.Bytes(), &text) == nil {
			got = text
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

func TestABodyOfUnknownLengthIsBounded(t *testing.T) {
	rt := serve(t, Options{MaxBody: 100}, Route{Method: "POST", Path: "/x", Auth: AuthNone, Handle: decoding((*Call).Decode)})
	for size, want := range map[int]int{50: 200, 91: 413, 10_000: 413} {
		r := httptest.NewRequest("POST", "/x", io.MultiReader(strings.NewReader(`{"name":"`+strings.Repeat("x", size)), strings.NewReader(`"}`)))
		r.ContentLength = -1
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%d bytes got %d %s", size, w.Code, w.Body)
		}
	}
}

func TestABodyThatBreaksOffIsRefused(t *testing.T) {
	rt := serve(t, Options{}, Route{Method: "POST", Path: "/x", Auth: AuthNone, Handle: decoding((*Call).Decode)})
	for _, length := range []int64{100, -1} {
		r := httptest.NewRequest("POST", "/x", io.MultiReader(strings.NewReader(`{"name":"`), brokenReader{}))
		r.ContentLength = length
		w := httptest.NewRecorder()
		rt.ServeHTTP(w, r)
		if w.Code != 400 || errcode(w) != "M_NOT_JSON" {
			t.Errorf("length %d: got %d %s", length, w.Code, w.Body)
		}
	}
}

type brokenReader struct{}

// Read fails.
func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("reset by peer") }

func TestCompressedBodiesAreRefusedUnread(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	called := false
	rt := serve(t, Options{}, Route{Method: "POST", Path: "/x", Auth: AuthNone, Handle: func(context.Context, *Call) (any, error) {
		called = true
		return nil, nil
	}})
	w := ask(rt, "POST", "/x", bomb.String(), "Content-Encoding", "gzip")
	if w.Code != 400 || called {
		t.Errorf("a compressed body got %d, and the handler ran: %v", w.Code, called)
	}
}

func TestAStreamedBodyIsReadByTheHandlerAndBounded(t *testing.T) {
	rt := serve(t, Options{}, Route{Method: "POST", Path: "/up", Auth: AuthNone, StreamBody: true, MaxBody: 1000,
		Handle: func(_ context.Context, c *Call) (any, error) {
			body, err := io.ReadAll(c.Reader())
			return len(body), err
		}})
	server := httptest.NewServer(rt)
	defer server.Close()
	for size, want := range map[int]int{10: 200, 1000: 200, 1001: 413, 1 << 20: 413} {
		response, err := http.Post(server.URL+"/up", "image/png", bytes.NewReader(bytes.Repeat([]byte{0xff}, size)))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%d bytes got %d, want %d", size, response.StatusCode, want)
		}
	}
}

func TestAConnectionOutlivesARefusedBody(t *testing.T) {
	rt := serve(t, Options{}, Route{Method: "POST", Path: "/x", Auth: AuthUser, Handle: decoding((*Call).Decode)})
	server := httptest.NewServer(rt)
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	for range 2 {
		// The body, of two bytes, follows after the refusal.
		if _, err := io.WriteString(conn, "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "{}"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		if response.StatusCode != 401 {
			t.Errorf("got %d", response.StatusCode)
		}
	}
}

func TestABodyMayBeKept(t *testing.T) {
	var kept [][]byte
	rt := serve(t, Options{}, Route{Method: "POST", Path: "/x", Auth: AuthNone, Handle: func(_ context.Context, c *Call) (any, error) {
		kept = append(kept, c.Body())
		return nil, nil
	}})
	for _, body := range []string{`{"a":1}`, `{"b":2}`, `{"c":3}`} {
		ask(rt, "POST", "/x", body)
	}
	if got := string(bytes.Join(kept, nil)); got != `{"a":1}{"b":2}{"c":3}` {
		t.Errorf("kept %s", got)
	}
}

// FuzzCheckText holds the depth count to the JSON decoder: what is valid JSON
// and not too deep passes, and nothing panics.
func FuzzCheckText(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":"\\\"]"}]}`, `"\\`, `[[[[[[`, `{"a":"\u005c\""}`, "\xff", `}}}}{`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := checkText(body, 5)
		if !json.Valid(body) {
			return
		}
		depth, deepest := 0, 0
		dec := json.NewDecoder(bytes.NewReader(body))
		for {
			token, failed := dec.Token()
			if failed != nil {
				break
			}
			switch token {
			case json.Delim('{'), json.Delim('['):
				depth++
				deepest = max(deepest, depth)
			case json.Delim('}'), json.Delim(']'):
				depth--
			}
		}
		if tooDeep := fault.Is(err, fault.BadJSON); tooDeep != (deepest > 5) && !fault.Is(err, fault.NotJSON) {
			t.Errorf("%q is %d deep, and checkText says %v", body, deepest, err)
		}
	})
}
