package web

import (
	"net/http"
	"net/netip"
	"strings"
)

// Proxies are the reverse proxies whose word on where a request came from is
// taken.
type Proxies []netip.Prefix

// trusts reports whether addr is one of the proxies.
func (p Proxies) trusts(addr netip.Addr) bool {
	for _, prefix := range p {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// client is the address that a request came from: the peer of the connection,
// or, if that is a trusted proxy, the last address in X-Forwarded-For that is
// not one. What stands left of it could have been made up by the client.
func (p Proxies) client(remote string, header http.Header) netip.Addr {
	peer, err := netip.ParseAddrPort(remote)
	if err != nil {
		// A Unix socket has no address; who can reach it is a local proxy.
		if len(p) == 0 {
			return netip.Addr{}
		}
		return p.forwarded(netip.Addr{}, header["X-Forwarded-For"])
	}
	addr := peer.Addr().Unmap()
	if !p.trusts(addr) {
		return addr
	}
	return p.forwarded(addr, header["X-Forwarded-For"])
}

// forwarded walks the lines of X-Forwarded-For from right to left.
func (p Proxies) forwarded(nearest netip.Addr, lines []string) netip.Addr {
	for i := len(lines) - 1; i >= 0; i-- {
		line, more := lines[i], true
		for more {
			var last string
			comma := strings.LastIndexByte(line, ',')
			last, more = line[comma+1:], comma >= 0
			line = line[:max(comma, 0)]
			addr, ok := forwardedAddr(last)
			if !ok {
				return nearest
			}
			if nearest = addr; !p.trusts(addr) {
				return nearest
			}
		}
	}
	return nearest
}

// forwardedAddr parses an address as proxies write it: bare, in brackets, or
// with a port.
func forwardedAddr(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr.Unmap().WithZone(""), true
	}
	if addr, err := netip.ParseAddrPort(text); err == nil {
		return addr.Addr().Unmap().WithZone(""), true
	}
	if inner, ok := strings.CutPrefix(text, "["); ok {
		if addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]")); err == nil {
			return addr.Unmap().WithZone(""), true
		}
	}
	return netip.Addr{}, false
}
