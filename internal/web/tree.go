package web

import (
	"fmt"
	"strings"
)

// maxParams is how many {name} segments a path may have.
const maxParams = 6

// node is a place in the tree of paths. A segment is looked for among the
// literals first, then taken by the parameter; what the tail takes comes last.
type node struct {
	literal   map[string]*node
	param     *node
	tail      *node
	endpoints []*endpoint // what is served here, one for each method
}

// at finds the endpoint for a method; HEAD is served by GET.
func (n *node) at(method string) *endpoint {
	for _, e := range n.endpoints {
		if e.Method == method || method == "HEAD" && e.Method == "GET" {
			return e
		}
	}
	return nil
}

// allow lists the methods served here, for the Allow header.
func (n *node) allow() string {
	methods := make([]string, 0, len(n.endpoints)+1)
	for _, e := range n.endpoints {
		methods = append(methods, e.Method)
	}
	return strings.Join(append(methods, "OPTIONS"), ", ")
}

// match finds where path, which has lost its leading slash, ends, and appends
// to vals the segments that parameters took, as they were written.
func (n *node) match(path string, vals []string) (*node, []string) {
	segment, rest, more := path, "", false
	if i := strings.IndexByte(path, '/'); i >= 0 {
		segment, rest, more = path[:i], path[i+1:], true
	}
	if next := n.literal[segment]; next != nil {
		if found, v := next.follow(rest, more, vals); found != nil {
			return found, v
		}
	}
	if n.param != nil && segment != "" && len(vals) < maxParams {
		if found, v := n.param.follow(rest, more, append(vals, segment)); found != nil {
			return found, v
		}
	}
	if n.tail != nil && len(vals) < maxParams {
		return n.tail, append(vals, path)
	}
	return nil, nil
}

func (n *node) follow(rest string, more bool, vals []string) (*node, []string) {
	if more {
		return n.match(rest, vals)
	}
	if len(n.endpoints) == 0 {
		return nil, nil
	}
	return n, vals
}

// add grows the tree by an endpoint and reports what is wrong with its path.
func (n *node) add(e *endpoint) error {
	path, ok := strings.CutPrefix(e.Path, "/")
	if !ok {
		return fmt.Errorf("path %q does not start with a slash", e.Path)
	}
	segments := strings.Split(path, "/")
	at, above := n, n
	for i, segment := range segments {
		name, isParam := paramName(segment)
		above = at
		switch {
		case !isParam:
			at = at.literalChild(segment)
		case strings.HasSuffix(name, "..."):
			if i != len(segments)-1 {
				return fmt.Errorf("path %q goes on after %q", e.Path, segment)
			}
			name = strings.TrimSuffix(name, "...")
			at.tail = orNew(at.tail)
			at = at.tail
		default:
			at.param = orNew(at.param)
			at = at.param
		}
		if isParam {
			e.params = append(e.params, name)
		}
	}
	if len(e.params) > maxParams {
		return fmt.Errorf("path %q has more than %d parameters", e.Path, maxParams)
	}
	places := []*node{at}
	if e.OptionalTail {
		places = append(places, above, above.literalChild(""))
	}
	for _, place := range places {
		for _, other := range place.endpoints {
			if other.Method == e.Method {
				return fmt.Errorf("%s %s and %s are the same route", e.Method, e.Path, other.Path)
			}
		}
		place.endpoints = append(place.endpoints, e)
	}
	return nil
}

func (n *node) literalChild(segment string) *node {
	if n.literal == nil {
		n.literal = map[string]*node{}
	}
	n.literal[segment] = orNew(n.literal[segment])
	return n.literal[segment]
}

func orNew(n *node) *node {
	if n == nil {
		return &node{}
	}
	return n
}

// paramName is the name inside {name}.
func paramName(segment string) (string, bool) {
	if len(segment) > 2 && segment[0] == '{' && segment[len(segment)-1] == '}' {
		return segment[1 : len(segment)-1], true
	}
	return "", false
}
