package resolve

import (
	"net"
	"net/netip"
	"strings"

	"entente/internal/fault"
	"entente/roomserver/event"
)

// defaultPort is where a server listens that names no other port.
const defaultPort = "8448"

// name is a server name taken apart.
type name struct {
	host string // IP literal without brackets, or DNS name
	port string // empty when not given
	ip   bool
}

// parseName reads a server name, of a server or of its delegate.
//
// Spec: appendices/#server-name
func parseName(server string) (name, error) {
	if !event.ValidServerName(server) {
		return name{}, fault.New(fault.InvalidParam, "%q is not a server name", server)
	}
	var n name
	if rest, ok := strings.CutPrefix(server, "["); ok {
		host, port, _ := strings.Cut(rest, "]")
		n = name{host: host, port: strings.TrimPrefix(port, ":")}
	} else {
		n.host, n.port, _ = strings.Cut(server, ":")
	}
	_, err := netip.ParseAddr(n.host)
	n.ip = err == nil
	if strings.Contains(n.host, ":") && !n.ip {
		return name{}, fault.New(fault.InvalidParam, "%q holds no valid IPv6 address", server)
	}
	return n, nil
}

// dialPort is the port to connect to when nothing else says one.
func (n name) dialPort() string {
	if n.port == "" {
		return defaultPort
	}
	return n.port
}

// addr is the address of the name's own host.
func (n name) addr() string { return net.JoinHostPort(n.host, n.dialPort()) }
