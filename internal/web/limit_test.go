package web

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestABurstThenTheAverageRate(t *testing.T) {
	start := time.Unix(5000, 0)
	l := NewLimiter(Limits{RateLogin: {PerSecond: 2, Burst: 3}, RateRead: {}}, 0, start)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, tc := range []struct {
		class   Class
		subject string
		ms      int
		wait    time.Duration
	}{
		{RateLogin, "a", 0, 0}, {RateLogin, "a", 0, 0}, {RateLogin, "a", 0, 0},
		{RateLogin, "a", 0, 500 * time.Millisecond},
		{RateLogin, "a", 200, 300 * time.Millisecond},
		{RateLogin, "b", 200, 0},
		{RateLogin, "a", 500, 0},
		{RateLogin, "a", 500, 500 * time.Millisecond},
		{RateLogin, "a", 60_000, 0}, {RateLogin, "a", 60_000, 0}, {RateLogin, "a", 60_000, 0},
		{RateLogin, "a", 60_000, 500 * time.Millisecond},
		{RateRead, "a", 0, 0}, {RateMessage, "a", 0, 0}, {RateNone, "a", 0, 0}, {Class(200), "a", 0, 0},
	} {
		if got := l.Take(tc.class, tc.subject, at(tc.ms)); got != tc.wait {
			t.Errorf("%s of %s at %d ms: wait %v, want %v", tc.class, tc.subject, tc.ms, got, tc.wait)
		}
	}
	var off *Limiter
	if off.Take(RateLogin, "a", start) != 0 {
		t.Error("no limiter limits")
	}
}

func TestMemoryOfLimitsIsBounded(t *testing.T) {
	start := time.Unix(5000, 0)
	l := NewLimiter(Limits{RateRead: {PerSecond: 1, Burst: 2}}, 160, start)
	for i := range 10_000 {
		l.Take(RateRead, fmt.Sprint("early", i), start)
	}
	if n := l.size(); n > 160 {
		t.Errorf("%d callers remembered, of at most 160", n)
	}
	later := start.Add(time.Minute)
	for i := range 500 {
		l.Take(RateRead, fmt.Sprint("late", i), later)
	}
	if n := l.size(); n > 160 {
		t.Errorf("%d callers remembered later", n)
	}
	// A caller who is remembered is limited still.
	l.Take(RateRead, "now", later)
	l.Take(RateRead, "now", later)
	if l.Take(RateRead, "now", later) == 0 {
		t.Error("a caller is forgotten at once")
	}
}

func TestLimitsCountUsersPeersAndAddresses(t *testing.T) {
	now := time.Unix(5000, 0)
	rt := serve(t, Options{
		Limiter: NewLimiter(Limits{RateWrite: {PerSecond: 0.5, Burst: 1}}, 0, now),
		Now:     func() time.Time { return now },
		Proxies: Proxies{prefix("192.0.2.1/32")},
	},
		Route{Method: "POST", Path: "/user", Auth: AuthUser, Rate: RateWrite, Handle: echo()},
		Route{Method: "POST", Path: "/open", Auth: AuthNone, Rate: RateWrite, Handle: echo()},
		Route{Method: "POST", Path: "/peer", Auth: AuthServer, Rate: RateWrite, Handle: echo()},
		Route{Method: "POST", Path: "/free", Auth: AuthNone, Handle: echo()},
	)
	for i, tc := range []struct {
		path    string
		headers string
		status  int
	}{
		{"/user", "Authorization: Bearer alice", 200},
		{"/user", "Authorization: Bearer alice", 429},
		{"/user", "Authorization: Bearer admin", 200},
		{"/user", "Authorization: Bearer bot", 200},
		{"/user", "Authorization: Bearer bot", 200},
		{"/peer", "X-Origin: b.example", 200},
		{"/peer", "X-Origin: b.example", 429},
		{"/peer", "X-Origin: c.example", 200},
		{"/open", "X-Forwarded-For: 198.51.100.7", 200},
		{"/open", "X-Forwarded-For: 198.51.100.7", 429},
		{"/open", "X-Forwarded-For: 198.51.100.8", 200},
		{"/open", "X-Forwarded-For: 2001:db8::1", 200},
		{"/open", "X-Forwarded-For: 2001:db8::2", 429},
		{"/open", "X-Forwarded-For: 2001:db8:0:1::2", 200},
		{"/free", "X-Forwarded-For: 198.51.100.7", 200},
	} {
		name, value, _ := strings.Cut(tc.headers, ": ")
		w := ask(rt, "POST", tc.path, "", name, value)
		if w.Code != tc.status {
			t.Errorf("call %d, %s with %s: got %d %s", i, tc.path, tc.headers, w.Code, w.Body)
		}
		if w.Code == 429 && (w.Header().Get("Retry-After") != "2" || errcode(w) != "M_LIMIT_EXCEEDED" || !strings.Contains(w.Body.String(), `"retry_after_ms":2000`)) {
			t.Errorf("call %d does not say when to return: %v %s", i, w.Header(), w.Body)
		}
	}
}

func TestALimitedBodyIsNotRead(t *testing.T) {
	now := time.Unix(5000, 0)
	rt := serve(t, Options{Limiter: NewLimiter(Limits{RateWrite: {PerSecond: 1, Burst: 1}}, 0, now), Now: func() time.Time { return now }},
		Route{Method: "POST", Path: "/x", Auth: AuthUser, Rate: RateWrite, Handle: func(_ context.Context, c *Call) (any, error) { return len(c.Body()), nil }})
	ask(rt, "POST", "/x", "{}", "Authorization", "Bearer alice")
	if w := ask(rt, "POST", "/x", "\xff", "Authorization", "Bearer alice"); w.Code != 429 {
		t.Errorf("a limited call with a bad body got %d", w.Code)
	}
}

func TestAHandlerMayChargeAnotherSubject(t *testing.T) {
	now := time.Unix(5000, 0)
	rt := serve(t, Options{Limiter: NewLimiter(Limits{RateLogin: {PerSecond: 1, Burst: 1}}, 0, now), Now: func() time.Time { return now }},
		Route{Method: "POST", Path: "/login/{user}", Auth: AuthNone, Handle: func(_ context.Context, c *Call) (any, error) {
			return nil, c.Charge(RateLogin, c.Path("user"))
		}})
	for _, tc := range []struct {
		user   string
		status int
	}{{"a", 200}, {"a", 429}, {"b", 200}} {
		if w := ask(rt, "POST", "/login/"+tc.user, ""); w.Code != tc.status {
			t.Errorf("%s: got %d", tc.user, w.Code)
		}
	}
}
