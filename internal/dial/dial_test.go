package dial

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyPublicAddressesAreAllowedByDefault(t *testing.T) {
	for addr, allowed := range map[string]bool{
		"1.1.1.1":                 true,
		"93.184.216.34":           true,
		"2606:4700::1111":         true,
		"64:ff9b::101:101":        true, // NAT64 of 1.1.1.1
		"2002:101:101::1":         true, // 6to4 of 1.1.1.1
		"0.0.0.0":                 false,
		"10.1.2.3":                false,
		"100.64.0.1":              false,
		"127.0.0.1":               false,
		"127.255.255.254":         false,
		"169.254.169.254":         false, // cloud metadata
		"172.16.0.1":              false,
		"172.31.255.255":          false,
		"172.32.0.1":              true,
		"192.0.0.8":               false,
		"192.168.1.1":             false,
		"198.18.0.1":              false,
		"224.0.0.1":               false,
		"255.255.255.255":         false,
		"::":                      false,
		"::1":                     false,
		"::127.0.0.1":             false, // IPv4-compatible
		"::ffff:127.0.0.1":        false, // IPv4-mapped
		"::ffff:1.1.1.1":          true,
		"64:ff9b::a00:1":          false, // NAT64 of 10.0.0.1
		"64:ff9b:1::a00:1":        false,
		"2002:7f00:1::":           false, // 6to4 of 127.0.0.1
		"2001:0:4136:e378::":      false, // Teredo
		"2001:db8::1":             false,
		"100::1":                  false,
		"fc00::1":                 false,
		"fd12:3456::1":            false,
		"fe80::1":                 false,
		"fe80::1%eth0":            false,
		"fec0::1":                 false,
		"ff02::1":                 false,
		"2a00:1450:4001:81c::1%x": true,
	} {
		err := New(Options{}).Check(netip.MustParseAddr(addr))
		if (err == nil) != allowed {
			t.Errorf("%s: got %v, want allowed %v", addr, err, allowed)
		}
		if err != nil && !IsRefused(err) {
			t.Errorf("%s: %v is not a refusal", addr, err)
		}
	}
	if err := New(Options{}).Check(netip.Addr{}); err == nil {
		t.Error("the invalid address was allowed")
	}
}

func TestRangesAreAllowedAndDeniedByOption(t *testing.T) {
	prefix := func(s ...string) (out []netip.Prefix) {
		for _, p := range s {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for name, test := range map[string]struct {
		options Options
		addr    string
		allowed bool
	}{
		"a listed range":                   {Options{Allow: prefix("10.0.0.0/8")}, "10.2.3.4", true},
		"a listed range, mapped":           {Options{Allow: prefix("10.0.0.0/8")}, "::ffff:10.2.3.4", true},
		"another private range":            {Options{Allow: prefix("10.0.0.0/8")}, "192.168.0.1", false},
		"everything":                       {Options{AllowPrivate: true}, "127.0.0.1", true},
		"everything but a denied range":    {Options{AllowPrivate: true, Deny: prefix("169.254.0.0/16")}, "169.254.169.254", false},
		"a denied public range":            {Options{Deny: prefix("1.0.0.0/8")}, "1.1.1.1", false},
		"deny beats allow":                 {Options{Allow: prefix("10.0.0.0/8"), Deny: prefix("10.9.0.0/16")}, "10.9.0.1", false},
		"a denied range reached by NAT64":  {Options{Deny: prefix("1.0.0.0/8")}, "64:ff9b::101:101", false},
		"an allowed range reached by 6to4": {Options{Allow: prefix("10.0.0.0/8")}, "2002:a00:1::", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := New(test.options).Check(netip.MustParseAddr(test.addr))
			if (err == nil) != test.allowed {
				t.Errorf("got %v, want allowed %v", err, test.allowed)
			}
		})
	}
}

func TestTheDialerJudgesTheAddressItConnectsTo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())

	refusing := New(Options{Hint: "federation.allow_private"})
	for _, host := range []string{"127.0.0.1", "localhost"} {
		conn, err := refusing.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			conn.Close()
			t.Fatalf("%s: connected", host)
		}
		if !IsRefused(err) || !strings.Contains(err.Error(), "to allow it, set federation.allow_private") {
			t.Errorf("%s: %v does not say what to set", host, err)
		}
	}
	conn, err := New(Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}).
		DialContext(context.Background(), "tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestOtherNetworksThanTCPAndUDPAreRefused(t *testing.T) {
	_, err := New(Options{AllowPrivate: true}).DialContext(context.Background(), "unix", "/nonexistent.sock")
	if !IsRefused(err) {
		t.Errorf("got %v, want a refusal", err)
	}
}
