package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

func (c *checker) storage() {
	db := c.cfg.Database
	if db.SQLite != "" && db.Postgres != "" {
		c.wrong("database", "both sqlite and postgres are set", "keep one of them")
	}
	if db.Postgres != "" && !postgresDSN(db.Postgres.Reveal()) {
		c.wrong(c.setOf("database.postgres"), "not a connection string", "write it as postgres://user:password@host/database, or as host=... user=... dbname=...")
	}
	c.atLeast("database.max_connections", db.MaxConnections >= 2 && db.MaxConnections <= 1000, "not from 2 to 1000", "16 is usual")
	if nats := c.cfg.Cluster.NATS; nats != "" {
		if u, err := url.Parse(nats.Reveal()); err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			c.wrong(c.setOf("cluster.nats"), "not the URL of a NATS server", "write it as nats://nats.example.org:4222")
		}
		if db.Postgres == "" {
			c.wrong(c.setOf("cluster.nats"), "several nodes need PostgreSQL", "set database.postgres, or remove cluster.nats for a single node")
		}
	}
}

// setOf is the setting of a secret, or of the file that holds it if that is
// what the operator wrote.
func (c *checker) setOf(path string) string {
	if _, set := c.at[path+"_file"]; set {
		return path + "_file"
	}
	return path
}

// postgresDSN reports whether s looks like a connection string of either
// form. The database's own driver has the last word.
func postgresDSN(s string) bool {
	if strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://") {
		_, err := url.Parse(s)
		return err == nil
	}
	return strings.Contains(s, "=")
}

func (c *checker) wellKnown() {
	w := c.cfg.WellKnown
	if w.Client != "" && !webURL(w.Client) {
		c.wrong("well_known.client", fmt.Sprintf("%q is not an http or https URL", w.Client), "write it as https://matrix.example.org")
	}
	if w.Server != "" && !validServerName(w.Server) {
		c.wrong("well_known.server", fmt.Sprintf("%q is not a host name with a port", w.Server), "write it as matrix.example.org:443, without https://")
	}
	if w.Support.Page != "" && !webURL(w.Support.Page) {
		c.wrong("well_known.support.page", fmt.Sprintf("%q is not an http or https URL", w.Support.Page), "correct it")
	}
	for i, contact := range w.Support.Contacts {
		at := index("well_known.support.contacts", i)
		if contact.Email == "" && contact.MatrixID == "" {
			c.wrong(at, "the contact cannot be reached", "add email or matrix_id")
		}
		if contact.Role == "" || !strings.Contains(contact.Role, ".") {
			c.wrong(at+".role", "not a role", "write m.role.admin, m.role.security, or a name of your own with a dot in it")
		}
		if contact.Email != "" && !strings.Contains(contact.Email, "@") {
			c.wrong(at+".email", "not an email address", "correct it")
		}
		local, server, ok := strings.Cut(contact.MatrixID, ":")
		if contact.MatrixID != "" && (!ok || !strings.HasPrefix(local, "@") || !validServerName(server)) {
			c.wrong(at+".matrix_id", "not a Matrix user ID", "write it as @ops:example.org")
		}
	}
}

func (c *checker) federation() {
	f := c.cfg.Federation
	for i, name := range f.Listed {
		if !validServerName(strings.TrimPrefix(name, "*.")) {
			c.wrong(index("federation.listed", i), fmt.Sprintf("%q is not a server name", name), "write it as other.example, or *.example.org for all below a domain")
		}
	}
	if len(f.Listed) > 0 && f.Mode != FederationListed {
		c.wrong("federation.listed", "the list has no effect in the mode "+string(f.Mode), "set mode: listed, or remove the list")
	}
	for _, name := range slices.Sorted(maps.Keys(f.Static)) {
		c.static("federation.static["+name+"]", name, f.Static[name])
	}
	for i, name := range f.Notaries {
		if !validServerName(name) {
			c.wrong(index("federation.notaries", i), fmt.Sprintf("%q is not a server name", name), "write it as notary.example")
		}
	}
	for i, path := range f.CAFiles {
		c.pemFile(index("federation.ca_files", i), path)
	}
	if !f.SystemRoots && len(f.CAFiles) == 0 && f.Mode != FederationClosed {
		c.wrong("federation.system_roots", "no certificate authority is trusted, so no server can be reached", "add federation.ca_files, or set system_roots: true")
	}
	for i, text := range f.AllowedRanges {
		c.addressRange(index("federation.allowed_ranges", i), text)
	}
	c.atLeast("federation.connect_timeout", f.ConnectTimeout.Std() >= 1e9, "less than a second", "10s is usual")
	c.atLeast("federation.request_timeout", f.RequestTimeout >= f.ConnectTimeout, "less than connect_timeout", "1m is usual")
	c.atLeast("federation.longest_backoff", f.LongestBackoff.Std() >= 1e9, "less than a second", "6h is usual")
	c.atLeast("federation.staging.events", f.Staging.Events >= 50, "less than one transaction of 50 events", "10000 is usual")
	c.atLeast("federation.staging.bytes", f.Staging.Bytes >= 4<<20, "less than one transaction, 4 MiB", "64 MiB is usual")
}

func (c *checker) audit() {
	seen := map[AuditSink]bool{}
	for i, sink := range c.cfg.Audit.Sinks {
		at := index("audit.sinks", i)
		switch {
		case (sink.File == "") == (sink.Syslog == ""):
			c.wrong(at, "a sink is either a file or a syslog receiver", "set one of file and syslog")
		case sink.Syslog != "" && !syslogTarget(sink.Syslog):
			c.wrong(at+".syslog", fmt.Sprintf("%q is not a syslog receiver", sink.Syslog), "write it as udp://host:514, tcp://host:601 or unix:///dev/log")
		case seen[sink]:
			c.wrong(at, "the sink is listed twice", "keep one of them")
		}
		seen[sink] = true
	}
}

// syslogTarget reports whether s says where a syslog receiver is.
func syslogTarget(s string) bool {
	u, err := url.Parse(s)
	if err != nil || u.User != nil {
		return false
	}
	if u.Scheme == "unix" {
		return u.Host == "" && strings.HasPrefix(u.Path, "/")
	}
	port, badPort := strconv.ParseUint(u.Port(), 10, 16)
	return (u.Scheme == "udp" || u.Scheme == "tcp") && u.Hostname() != "" && badPort == nil && port != 0 && u.Path == ""
}

// static checks where a server is to be reached.
func (c *checker) static(at, name, target string) {
	if !validServerName(name) {
		c.wrong(at, fmt.Sprintf("%q is not a server name", name), "write the name as it stands in user IDs")
	}
	host, port, err := net.SplitHostPort(target)
	_, badPort := strconv.ParseUint(port, 10, 16)
	_, badAddr := netip.ParseAddr(host)
	if err != nil || badPort != nil || badAddr != nil && !validServerName(host) {
		c.wrong(at, fmt.Sprintf("%q is not host:port", target), `write it as "10.1.2.3:8448"`)
	}
}

// validServerName reports whether name follows the grammar of server names.
//
// Spec: appendices/#server-name
func validServerName(name string) bool {
	host, port, found := name, "", false
	if end := strings.LastIndexByte(name, ']'); strings.HasPrefix(name, "[") && end > 0 {
		addr, err := netip.ParseAddr(name[1:end])
		if err != nil || !addr.Is6() || addr.Zone() != "" {
			return false
		}
		if name[end+1:] == "" {
			return true
		}
		host = "ipv6"
		port, found = strings.CutPrefix(name[end+1:], ":")
		if !found {
			return false
		}
	} else {
		host, port, found = strings.Cut(name, ":")
	}
	if _, err := strconv.ParseUint(port, 10, 16); found && err != nil {
		return false
	}
	return host != "" && len(name) <= 255 && strings.Trim(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == ""
}
