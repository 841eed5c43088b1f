package clientapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"entente/internal/fault"
	"entente/internal/web"
)

// staged serves an endpoint that wants one of two flows of stages; a stage
// succeeds unless it says "wrong".
func staged(t *testing.T, s *Server) func(body string) (status int, answer map[string]any) {
	t.Helper()
	handle := func(ctx context.Context, c *web.Call) (any, error) {
		var body struct{ Name string }
		at, err := s.attempt(c, &body)
		if err != nil {
			return nil, err
		}
		answer, err := at.prove(ctx, proof{
			flows: [][]string{{"one", "two"}, {"three"}},
			check: func(_ context.Context, _ string, auth json.RawMessage) error {
				if strings.Contains(string(auth), "wrong") {
					return fault.New(fault.Forbidden, "That was wrong")
				}
				if strings.Contains(string(auth), "broken") {
					return fault.New(fault.BadJSON, "That was broken")
				}
				return nil
			},
		})
		if answer != nil || err != nil {
			return orNothing(answer), err
		}
		return map[string]string{"name": body.Name}, nil
	}
	router, err := web.New(web.Options{}, web.Route{Method: "POST", Path: "/x", Auth: web.AuthNone, Handle: handle})
	if err != nil {
		t.Fatal(err)
	}
	return func(body string) (int, map[string]any) {
		w := httptest.NewRecorder()
		router.ServeHTTP(w, httptest.NewRequest("POST", "/x", strings.NewReader(body)))
		var answer map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Fatalf("answered %q", w.Body)
		}
		return w.Code, answer
	}
}

// The stages of a flow are completed one after another, and what was asked for
// at first is what happens at last.
func TestStagesOfAnInteraction(t *testing.T) {
	call := staged(t, New(Options{}))
	_, first := call(`{"name":"first"}`)
	session := first["session"]
	for _, test := range []struct {
		auth      string
		status    int
		errcode   any
		completed []any
	}{
		{`"type":"two","wrong":1`, 401, "M_FORBIDDEN", nil},
		{`"type":"two","broken":1`, 400, "M_BAD_JSON", nil},
		{`"type":"four"`, 401, "M_FORBIDDEN", nil},
		{`"type":"two"`, 401, nil, []any{"two"}},
		{`"type":"two"`, 401, nil, []any{"two"}},
		{``, 401, nil, []any{"two"}},
		{`"type":"one"`, 200, nil, nil},
	} {
		auth := fmt.Sprintf(`"session":%q`, session)
		if test.auth != "" {
			auth += "," + test.auth
		}
		status, answer := call(`{"auth":{` + auth + `}}`)
		completed, _ := answer["completed"].([]any)
		if status != test.status || answer["errcode"] != test.errcode || !slices.Equal(completed, test.completed) {
			t.Errorf("%s: answered %d %v", test.auth, status, answer)
		}
		if status == 200 && answer["name"] != "first" {
			t.Errorf("what happened is %v", answer)
		}
	}
}

// A flow of one stage needs no session; auth that is null is none.
func TestInteractionWithoutASession(t *testing.T) {
	call := staged(t, New(Options{}))
	if status, answer := call(`{"name":"x","auth":{"type":"three"}}`); status != 200 || answer["name"] != "x" {
		t.Errorf("answered %d %v", status, answer)
	}
	if status, answer := call(`{"auth":{"type":"one"}}`); status != 401 || answer["session"] == "" {
		t.Errorf("answered %d %v", status, answer)
	}
	for _, body := range []string{``, `{"auth":null}`} {
		if status, _ := call(body); status != http.StatusUnauthorized {
			t.Errorf("%q answered %d", body, status)
		}
	}
	if status, _ := call(`{"name":1,"auth":{"type":"three"}}`); status != http.StatusBadRequest {
		t.Errorf("a name of 1 answered %d", status)
	}
}

// What is remembered of sessions is bounded in number, size and time.
func TestInteractionsAreBounded(t *testing.T) {
	now := time.Unix(1e9, 0)
	in := newInteractions([32]byte{1}, func() time.Time { return now })
	large := in.begin("POST /x", "", json.RawMessage(strings.Repeat(" ", maxRemembered+1)))
	if known, ok := in.resume(large, "POST /x", ""); !ok || known.body != nil {
		t.Errorf("a large body is remembered: %v", ok)
	}
	for range interactionsKept + 10 {
		in.begin("POST /x", "", json.RawMessage("{}"))
	}
	if len(in.known) != interactionsKept || len(in.queue) != interactionsKept {
		t.Errorf("%d sessions are remembered", len(in.known))
	}
	now = now.Add(interactionLife)
	in.begin("POST /x", "", nil)
	if len(in.known) != 1 {
		t.Errorf("%d sessions are remembered after their time", len(in.known))
	}
}

func FuzzInteractionSession(f *testing.F) {
	in := newInteractions([32]byte{1}, time.Now)
	f.Add(in.begin("POST /x", "", nil))
	f.Add("")
	f.Add("AAAA")
	f.Fuzz(func(t *testing.T, session string) {
		if _, ok := in.resume(session, "POST /y", ""); ok {
			t.Errorf("%q is a session of an endpoint that never began one", session)
		}
	})
}
