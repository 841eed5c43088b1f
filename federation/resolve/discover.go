package resolve

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"entente/internal/fault"
)

// discover goes through the steps of the specification and says how long the
// answer may be kept.
//
// Spec: server-server-api/#resolving-server-names
func (r *Resolver) discover(ctx context.Context, server string) (Target, time.Duration, error) {
	n, err := parseName(server)
	if err != nil {
		return Target{}, 0, err
	}
	// Steps 1 and 2: an IP literal or an explicit port say it all.
	if n.ip || n.port != "" {
		if err := r.allowHost(server, n.host); err != nil {
			return Target{}, 0, err
		}
		return Target{Addrs: []string{n.addr()}, Host: server, TLSName: n.host}, addressTTL, nil
	}
	// Step 3: .well-known. An unusable answer is as good as none.
	delegate, ttl, err := r.lookupWellKnown(ctx, server, n.host)
	if err != nil {
		return Target{}, 0, err
	}
	host := server
	if delegate != "" {
		host = delegate
		if n, err = parseName(delegate); err != nil {
			return Target{}, 0, err
		}
	}
	if err := r.allowHost(server, n.host); err != nil {
		return Target{}, 0, err
	}
	// Steps 3.1 and 3.2: the delegate is an IP literal or has a port.
	if n.ip || n.port != "" {
		return Target{Addrs: []string{n.addr()}, Host: host, TLSName: n.host}, min(ttl, addressTTL), nil
	}
	// Steps 3.3 to 3.5, or 4 to 6 without a delegate.
	addrs, doubt, err := r.lookupSRV(ctx, n.host)
	if err != nil {
		return Target{}, 0, err
	}
	if doubt {
		ttl = min(ttl, doubtTTL)
	}
	if len(addrs) == 0 {
		addrs = []string{n.addr()}
	}
	return Target{Addrs: addrs, Host: host, TLSName: n.host}, min(ttl, addressTTL), nil
}

// lookupSRV asks for the SRV records of host, by the registered service name
// and then by the deprecated one. No addresses means that there is no record;
// doubt, that DNS failed to say so.
func (r *Resolver) lookupSRV(ctx context.Context, host string) (addrs []string, doubt bool, err error) {
	for _, service := range []string{"matrix-fed", "matrix"} {
		// The final dot keeps the resolver from trying search domains.
		_, srvs, err := r.dns.LookupSRV(ctx, service, "tcp", strings.TrimSuffix(host, ".")+".")
		if ctx.Err() != nil {
			return nil, false, fault.Wrap(ctx.Err(), fault.Unreachable, "looking up %s took too long", host)
		}
		var dnsErr *net.DNSError
		if err != nil && (!errors.As(err, &dnsErr) || !dnsErr.IsNotFound) {
			doubt = true
		}
		if len(srvs) == 1 && srvs[0].Target == "." {
			// RFC 2782: the service is decidedly not available at this domain.
			return nil, false, fault.New(fault.Unreachable, "the SRV record of %s says that it has no Matrix server", host)
		}
		for _, srv := range srvs {
			if target := strings.TrimSuffix(srv.Target, "."); target != "" && srv.Port != 0 {
				addrs = append(addrs, net.JoinHostPort(target, strconv.Itoa(int(srv.Port))))
			}
		}
		if len(addrs) > 0 {
			return addrs[:min(len(addrs), maxSRV)], doubt, nil
		}
	}
	return nil, doubt, nil
}

// maxSRV bounds how many addresses a stranger's zone can make us try.
const maxSRV = 8
