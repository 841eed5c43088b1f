package spectest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// API names one of the specification's APIs, as its folder under data/api is
// called.
type API string

// The APIs that a homeserver serves.
const (
	ClientServer API = "client-server"
	ServerServer API = "server-server"
)

// Auth is who may call an endpoint.
type Auth string

// The kinds of caller. An endpoint may be open to callers without a token and
// still treat those with one differently (AuthOptional).
const (
	AuthNone       Auth = "none"       // anyone
	AuthOptional   Auth = "optional"   // anyone, a token is looked at
	AuthUser       Auth = "user"       // an access token
	AuthAppservice Auth = "appservice" // the token of an application service
	AuthServer     Auth = "server"     // a request signed by a peer
)

// Route is one endpoint of the specification.
type Route struct {
	API         API
	File        string // the OpenAPI file's name without .yaml: the module
	Title       string // the module's title
	Method      string // GET, POST, PUT, DELETE
	Path        string // with prefix: /_matrix/client/v3/sync
	OperationID string
	Summary     string
	Auth        Auth
	Deprecated  bool

	at place // the operation
}

// Anchor is the heading of the endpoint in the specification's pages:
// get_matrixclientv3sync.
func (r Route) Anchor() string {
	clean := strings.NewReplacer("/", "", "{", "", "}", "", ".", "")
	return strings.ToLower(r.Method) + strings.ToLower(clean.Replace(r.Path))
}

// Routes lists every endpoint of the Client-Server and Server-Server APIs, by
// API, file, path and method.
func (s *Spec) Routes() []Route { return slices.Clone(s.routes) }

func (s *Spec) readRoutes() error {
	for _, api := range []API{ClientServer, ServerServer} {
		dir := filepath.Join(s.root, "data", "api", string(api))
		entries, err := os.ReadDir(dir)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if e.IsDir() || !strings.HasSuffix(e.Name(), ".yaml") {
				continue
			}
			found, err := s.fileRoutes(api, strings.TrimSuffix(e.Name(), ".yaml"))
			if err != nil {
				return err
			}
			s.routes = append(s.routes, found...)
		}
	}
	slices.SortFunc(s.routes, func(a, b Route) int {
		return strings.Compare(a.sortKey(), b.sortKey())
	})
	return nil
}

func (r Route) sortKey() string {
	return strings.Join([]string{string(r.API), r.File, r.Path, r.Method}, "\x00")
}

var methods = []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch, http.MethodHead}

// fileRoutes reads the endpoints of one OpenAPI file. The files tell two
// operations on one path apart by a space at its end, which is no part of it.
func (s *Spec) fileRoutes(api API, name string) ([]Route, error) {
	doc := place{file: "data/api/" + string(api) + "/" + name + ".yaml"}
	v, _, err := s.node(doc)
	if err != nil {
		return nil, err
	}
	prefix := textAt(v, "servers", 0, "variables", "basePath", "default")
	if prefix == "" {
		return nil, fmt.Errorf("%s: no basePath under servers", doc.file)
	}
	var routes []Route
	paths, _ := at(v, "paths").(map[string]any)
	for p := range paths {
		for _, method := range methods {
			op, ok := at(v, "paths", p, strings.ToLower(method)).(map[string]any)
			if !ok {
				continue
			}
			routes = append(routes, Route{
				API: api, File: name, Title: textAt(v, "info", "title"), Method: method,
				Path:        prefix + strings.TrimSpace(p),
				OperationID: textAt(op, "operationId"),
				Summary:     textAt(op, "summary"),
				Auth:        authOf(op),
				Deprecated:  at(op, "deprecated") == true,
				at:          doc.child("paths").child(p).child(strings.ToLower(method)),
			})
		}
	}
	return routes, nil
}

// authOf reads an operation's security: a list of alternatives, where an
// empty one means that none is needed.
func authOf(op map[string]any) Auth {
	list, _ := op["security"].([]any)
	found, open := AuthNone, false
	for _, alt := range list {
		schemes, _ := alt.(map[string]any)
		if len(schemes) == 0 {
			open = true
		}
		for name := range schemes {
			switch name {
			case "accessTokenBearer":
				found = AuthUser
			case "appserviceAccessTokenBearer":
				found = AuthAppservice
			case "signedRequest":
				found = AuthServer
			}
		}
	}
	if open && found != AuthNone {
		return AuthOptional
	}
	return found
}

// at walks maps by string and lists by int; nil when there is nothing.
func at(v any, path ...any) any {
	for _, step := range path {
		switch k := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if k >= len(l) {
				return nil
			}
			v = l[k]
		}
	}
	return v
}

func textAt(v any, path ...any) string {
	t, _ := at(v, path...).(string)
	return t
}

// matcher finds the endpoint of a request's path. A literal segment wins over
// a parameter.
type matcher struct{ root *segment }

type segment struct {
	literal map[string]*segment
	param   *segment
	routes  map[string]*Route // by method, at the end of a path
}

func newMatcher(routes []Route) matcher {
	m := matcher{root: &segment{}}
	for i := range routes {
		n := m.root
		for _, part := range strings.Split(routes[i].Path, "/") {
			n = n.add(part)
		}
		if n.routes == nil {
			n.routes = make(map[string]*Route)
		}
		// Of two operations on one path (an invite by user ID, an invite by
		// e-mail address) the answers are alike: the first stands for both.
		if n.routes[routes[i].Method] == nil {
			n.routes[routes[i].Method] = &routes[i]
		}
	}
	return m
}

func (n *segment) add(part string) *segment {
	if strings.HasPrefix(part, "{") {
		if n.param == nil {
			n.param = &segment{}
		}
		return n.param
	}
	if n.literal == nil {
		n.literal = make(map[string]*segment)
	}
	if n.literal[part] == nil {
		n.literal[part] = &segment{}
	}
	return n.literal[part]
}

// find returns the endpoint that answers method on an escaped path, or nil.
func (m matcher) find(method, escapedPath string) *Route {
	return m.root.find(method, strings.Split(escapedPath, "/"))
}

func (n *segment) find(method string, parts []string) *Route {
	if len(parts) == 0 {
		return n.routes[method]
	}
	if next := n.literal[parts[0]]; next != nil {
		if r := next.find(method, parts[1:]); r != nil {
			return r
		}
	}
	if n.param != nil {
		return n.param.find(method, parts[1:])
	}
	return nil
}
