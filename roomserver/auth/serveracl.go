package auth

import (
	"strings"

	"entente/roomserver/event"
)

// ServerACL says which servers may take part in a room. The nil ServerACL, of
// a room without an m.room.server_acl event, admits every server.
//
// Spec: client-server-api/#mroomserver_acl
type ServerACL struct {
	allow, deny patterns
	noLiterals  bool
}

// patterns are globs, in lower case; those without a wildcard are looked up.
type patterns struct {
	exact map[string]bool
	globs []string
}

// ParseServerACL reads the content of an m.room.server_acl event. What is not
// of its type counts as missing: a list that is missing is empty.
//
// Spec: client-server-api/#mroomserver_acl
func ParseServerACL(content event.Value) *ServerACL {
	literals, isBool := content.Get("allow_ip_literals").Bool()
	return &ServerACL{
		allow:      patternsIn(content.Get("allow")),
		deny:       patternsIn(content.Get("deny")),
		noLiterals: isBool && !literals,
	}
}

func patternsIn(list event.Value) patterns {
	p := patterns{exact: map[string]bool{}}
	for v := range list.Elements() {
		pattern, ok := v.Str()
		if !ok {
			continue
		}
		pattern = strings.ToLower(pattern)
		if strings.ContainsAny(pattern, "*?") {
			p.globs = append(p.globs, pattern)
		} else {
			p.exact[pattern] = true
		}
	}
	return p
}

// Admits reports whether a server may take part, whatever its port.
//
// Spec: server-server-api/#server-access-control-lists-acls
func (a *ServerACL) Admits(server string) bool {
	if a == nil {
		return true
	}
	host := strings.ToLower(withoutPort(server))
	if a.noLiterals && isLiteral(host) {
		return false
	}
	return !a.deny.match(host) && a.allow.match(host)
}

func (p *patterns) match(host string) bool {
	if p.exact[host] {
		return true
	}
	for _, g := range p.globs {
		if globMatch(g, host) {
			return true
		}
	}
	return false
}

func withoutPort(server string) string {
	if strings.HasPrefix(server, "[") {
		if end := strings.IndexByte(server, ']'); end > 0 {
			return server[:end+1]
		}
		return server
	}
	host, _, _ := strings.Cut(server, ":")
	return host
}

// isLiteral reports whether host is an IPv6 address in brackets, or four
// numbers with dots.
//
// Spec: appendices/#server-name
func isLiteral(host string) bool {
	if strings.HasPrefix(host, "[") {
		return true
	}
	parts := 0
	for part := range strings.SplitSeq(host, ".") {
		if parts++; part == "" || len(part) > 3 || strings.Trim(part, "0123456789") != "" {
			return false
		}
	}
	return parts == 4
}

// globMatch matches with * for any run of characters and ? for one. It goes
// back to the last star only, so that no pattern costs more than its length
// times that of the text.
//
// Spec: appendices/#glob-style-matching
func globMatch(pattern, text string) bool {
	p, t := 0, 0
	star, resume := -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, resume = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			resume++
			p, t = star+1, resume
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
