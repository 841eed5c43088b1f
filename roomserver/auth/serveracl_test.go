package auth

import (
	"encoding/json"
	"path"
	"strings"
	"testing"

	"entente/roomserver/event"
)

func acl(t *testing.T, content string) *ServerACL {
	t.Helper()
	canonical, err := event.Canonical(json.RawMessage(content))
	if err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	return ParseServerACL(event.Value(canonical))
}

func TestServerACL(t *testing.T) {
	const open = `{"allow":["*"],"deny":["*.evil.example","bad.example"],"allow_ip_literals":false}`
	for _, c := range []struct {
		name, content, server string
		admits                bool
	}{
		{"A server that no list names otherwise is admitted by a star.", open, "good.example", true},
		{"A denied server is denied.", open, "bad.example", false},
		{"A port does not matter.", open, "bad.example:8448", false},
		{"The case does not matter.", open, "BAD.Example", false},
		{"A glob denies what is below a domain.", open, "a.b.evil.example", false},
		{"It does not deny the domain itself.", open, "evil.example", true},
		{"A server with a longer name is another.", open, "bad.example.org", true},
		{"An IPv4 literal is denied when literals are.", open, "10.0.0.1", false},
		{"So is one with a port.", open, "10.0.0.1:8448", false},
		{"So is an IPv6 literal.", open, "[::1]:8448", false},
		{"Four numbers with more behind them are a name.", open, "10.0.0.1.example", true},
		{"Literals are allowed unless the list says no.", `{"allow":["*"]}`, "10.0.0.1", true},
		{"What is not a boolean does not forbid literals.", `{"allow":["*"],"allow_ip_literals":"false"}`, "[::1]", true},
		{"A literal can be named.", `{"allow":["[::1]"]}`, "[::1]:80", true},
		{"Deny comes before allow.", `{"allow":["a.example"],"deny":["a.*"]}`, "a.example", false},
		{"Without an allow list nobody is admitted.", `{}`, "a.example", false},
		{"A list that is no list is none.", `{"allow":"*"}`, "a.example", false},
		{"Entries that are no strings are passed over.", `{"allow":[1,null,{"a":"*"},"a.example"]}`, "a.example", true},
		{"A question mark is one character.", `{"allow":["?.example"]}`, "a.example", true},
		{"It is not none.", `{"allow":["a?.example"]}`, "a.example", false},
		{"Dots are not wild.", `{"allow":["a.example"]}`, "aXexample", false},
		{"Brackets are not classes.", `{"allow":["[ab].example"]}`, "a.example", false},
	} {
		if got := acl(t, c.content).Admits(c.server); got != c.admits {
			t.Errorf("%s %s admits %s: %v", c.name, c.content, c.server, got)
		}
	}
	if !(*ServerACL)(nil).Admits("a.example") {
		t.Error("A room without a list refuses a server.")
	}
}

// A pattern of many stars must not take exponential time.
func TestGlobsAreCheap(t *testing.T) {
	pattern := strings.Repeat("*a", 2000) + "b"
	if globMatch(pattern, strings.Repeat("a", 255)) {
		t.Error("A pattern matches that ends in another letter.")
	}
}

func FuzzServerACL(f *testing.F) {
	f.Add("*.example", "a.example")
	f.Add("*", "[::1]:8448")
	f.Add("a?c*", "abc:1")
	f.Fuzz(func(t *testing.T, pattern, server string) {
		content, err := json.Marshal(map[string]any{"allow": []string{pattern}})
		if err != nil {
			return
		}
		canonical, err := event.Canonical(content)
		if err != nil {
			return
		}
		ParseServerACL(event.Value(canonical)).Admits(server)
		if strings.ContainsAny(pattern+server, `/[]\`) || !ascii(pattern) || !ascii(server) {
			return
		}
		if want, err := path.Match(pattern, server); err == nil && globMatch(pattern, server) != want {
			t.Errorf("%q matches %q: %v", pattern, server, !want)
		}
	})
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}
