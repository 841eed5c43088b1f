package web

import (
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestWhereARequestCameFrom(t *testing.T) {
	proxies := Proxies{prefix("10.0.0.0/8"), prefix("fd00::/8")}
	for _, tc := range []struct {
		name, remote string
		forwarded    []string
		want         string
	}{
		{"without a proxy", "198.51.100.1:1000", nil, "198.51.100.1"},
		{"a stranger's header is not believed", "198.51.100.1:1000", []string{"1.1.1.1"}, "198.51.100.1"},
		{"a proxy's header is", "10.0.0.1:1000", []string{"198.51.100.2"}, "198.51.100.2"},
		{"an IPv4 address in an IPv6 socket", "[::ffff:10.0.0.1]:1000", []string{"198.51.100.2"}, "198.51.100.2"},
		{"a chain of proxies", "10.0.0.1:1000", []string{"198.51.100.2, 10.0.0.3 ,10.0.0.2"}, "198.51.100.2"},
		{"what the client made up", "10.0.0.1:1000", []string{"1.1.1.1, 198.51.100.2, 10.0.0.2"}, "198.51.100.2"},
		{"several lines", "10.0.0.1:1000", []string{"1.1.1.1", "198.51.100.2", "10.0.0.2"}, "198.51.100.2"},
		{"IPv6", "[fd00::1]:1000", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets with a port", "[fd00::1]:1000", []string{"[2001:db8::1]:55"}, "2001:db8::1"},
		{"IPv6 in brackets", "[fd00::1]:1000", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv4 with a port", "10.0.0.1:1000", []string{"198.51.100.2:99"}, "198.51.100.2"},
		{"nonsense", "10.0.0.1:1000", []string{"198.51.100.2, unknown"}, "10.0.0.1"},
		{"nonsense behind a proxy", "10.0.0.1:1000", []string{"unknown, 10.0.0.2"}, "10.0.0.2"},
		{"an empty header", "10.0.0.1:1000", []string{""}, "10.0.0.1"},
		{"only proxies", "10.0.0.1:1000", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"a Unix socket", "@", []string{"198.51.100.2"}, "198.51.100.2"},
	} {
		if got := proxies.client(tc.remote, http.Header{"X-Forwarded-For": tc.forwarded}); got.String() != tc.want {
			t.Errorf("%s: %s, want %s", tc.name, got, tc.want)
		}
	}
	if got := Proxies(nil).client("@", http.Header{"X-Forwarded-For": {"198.51.100.2"}}); got.IsValid() {
		t.Errorf("a Unix socket without trusted proxies: %s", got)
	}
}

// FuzzForwarded: whatever stands in the header, an address that a proxy is
// not trusted for never comes from left of the nearest untrusted one.
func FuzzForwarded(f *testing.F) {
	for _, seed := range []string{"1.2.3.4", "1.2.3.4, [::1]:80", ",,,", "[", "fe80::1%eth0", "::ffff:1.2.3.4, x"} {
		f.Add(seed)
	}
	proxies := Proxies{prefix("10.0.0.0/8")}
	f.Fuzz(func(t *testing.T, line string) {
		header := http.Header{"X-Forwarded-For": {line + ", 198.51.100.9"}}
		if got := proxies.client("10.0.0.1:1", header); got.String() != "198.51.100.9" {
			t.Errorf("%q made it %s", line, got)
		}
		got := proxies.client("10.0.0.1:1", http.Header{"X-Forwarded-For": {line}})
		if !got.IsValid() || strings.Contains(got.String(), "%") {
			t.Errorf("%q made it %s", line, got)
		}
	})
}
