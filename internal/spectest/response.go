package spectest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"testing"

	"github.com/tidwall/gjson"
)

// Answer is one response, to be compared with the specification.
type Answer struct {
	Method string
	Path   string // as requested: escaped, without query
	Status int
	Header http.Header
	Body   []byte
}

// Response compares an answer with the schema of its endpoint and status. An
// error status that the endpoint does not describe is held to the standard
// error response. Answers to endpoints that the specification does not have,
// and answers that are not JSON by the specification, pass.
//
// Spec: client-server-api/#standard-error-response
func (s *Spec) Response(a Answer) error {
	r := s.match.find(a.Method, a.Path)
	if r == nil {
		return nil
	}
	sch, err := s.answerSchema(r, a.Status)
	if a.Status == http.StatusUnauthorized && !gjson.GetBytes(a.Body, "flows").Exists() {
		// The endpoints that ask for user-interactive authentication describe
		// only that; a token they do not know is a standard error.
		sch, err = s.schemaAt(standardError)
	}
	if err != nil {
		return fmt.Errorf("%s %s %d: %w", a.Method, a.Path, a.Status, err)
	}
	if sch == nil {
		return nil
	}
	problems, err := sch.check(a.Body)
	if err != nil {
		return fmt.Errorf("%s %s %d: %w: %.200q", a.Method, a.Path, a.Status, err, a.Body)
	}
	var all []error
	if kind, _, err := mime.ParseMediaType(a.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		all = append(all, fmt.Errorf("want Content-Type application/json, got %q", a.Header.Get("Content-Type")))
	}
	for _, p := range problems {
		all = append(all, p)
	}
	if len(all) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s %d (%s): %w", a.Method, a.Path, a.Status, r.OperationID, errors.Join(all...))
}

// standardError is the schema of the errors that an endpoint does not list.
var standardError = place{file: "data/api/client-server/definitions/errors/error.yaml"}

// answerSchema finds the schema of an endpoint's answer: nil when the
// specification does not describe one in JSON.
func (s *Spec) answerSchema(r *Route, status int) (*schema, error) {
	v, responses, err := s.node(r.at.child("responses"))
	if err != nil {
		return nil, err
	}
	for _, key := range []string{strconv.Itoa(status), strconv.Itoa(status/100) + "XX", "default"} {
		if at(v, key) == nil {
			continue
		}
		one, where, err := s.node(responses.child(key))
		if err != nil {
			return nil, err
		}
		if at(one, "content", "application/json", "schema") != nil {
			return s.schemaAt(where.child("content").child("application/json").child("schema"))
		}
		break
	}
	if status >= 400 {
		return s.schemaAt(standardError)
	}
	return nil, nil
}

// Handler is next, with every JSON answer compared with the specification:
// what differs fails the test. A body beyond 16 MiB is passed on unchecked.
func (s *Spec) Handler(tb testing.TB, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, method := r.URL.EscapedPath(), r.Method
		t := &tee{ResponseWriter: w, status: http.StatusOK}
		next.ServeHTTP(t, r)
		if t.overflow || r.Context().Err() != nil {
			return
		}
		s.report(tb, Answer{Method: method, Path: path, Status: t.status, Header: w.Header(), Body: t.body.Bytes()})
	})
}

// Transport is next, with every JSON answer compared with the specification:
// what differs fails the test.
func (s *Spec) Transport(tb testing.TB, next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(r)
		if err != nil || !s.describes(r, resp.StatusCode) {
			return resp, err
		}
		body, err := io.ReadAll(resp.Body)
		if cerr := resp.Body.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(body))
		s.report(tb, Answer{Method: r.Method, Path: r.URL.EscapedPath(), Status: resp.StatusCode, Header: resp.Header, Body: body})
		return resp, nil
	})
}

// describes reports whether the specification gives the answer a schema, so
// that media is not read into memory.
func (s *Spec) describes(r *http.Request, status int) bool {
	route := s.match.find(r.Method, r.URL.EscapedPath())
	if route == nil {
		return false
	}
	sch, err := s.answerSchema(route, status)
	return sch != nil || err != nil
}

func (s *Spec) report(tb testing.TB, a Answer) {
	tb.Helper()
	if err := s.Response(a); err != nil {
		tb.Errorf("the answer differs from the specification: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

const maxTee = 16 << 20

// tee passes an answer on and keeps a copy of it.
type tee struct {
	http.ResponseWriter
	status   int
	wrote    bool
	body     bytes.Buffer
	overflow bool
}

// WriteHeader implements http.ResponseWriter.
func (t *tee) WriteHeader(status int) {
	if !t.wrote && status >= 200 {
		t.status, t.wrote = status, true
	}
	t.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (t *tee) Write(p []byte) (int, error) {
	t.wrote = true
	if t.body.Len()+len(p) > maxTee {
		t.overflow = true
	} else {
		t.body.Write(p)
	}
	return t.ResponseWriter.Write(p)
}

// Unwrap lets http.ResponseController reach the real writer.
func (t *tee) Unwrap() http.ResponseWriter { return t.ResponseWriter }
