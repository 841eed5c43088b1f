// Package fakeserver is the handful of Client-Server endpoints that a load
// test calls, in memory: enough to test that every message is counted once.
package fakeserver

import (
	"crypto/hmac"
	"crypto/sha1" // the shared-secret registration is defined with it
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// World is what several homeservers share: federation without the network.
type World struct {
	mu    sync.Mutex
	log   []event                    // guarded by mu: every event in order
	state map[string]int             // guarded by mu: state events by room
	in    map[string]map[string]bool // guarded by mu: rooms by user
	moved chan struct{}              // guarded by mu: closed when the log grows
	txns  map[string]string          // guarded by mu: event IDs by transaction
}

type event struct {
	Room    string          `json:"-"`
	ID      string          `json:"event_id"`
	Type    string          `json:"type"`
	Sender  string          `json:"sender"`
	Content json.RawMessage `json:"content"`
}

// NewWorld makes an empty world.
func NewWorld() *World {
	return &World{state: make(map[string]int), in: make(map[string]map[string]bool), moved: make(chan struct{}), txns: make(map[string]string)}
}

// Messages counts the messages of a run in the world.
func (w *World) Messages(run string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.log {
		if strings.Contains(string(e.Content), `"run":"`+run+`"`) {
			n++
		}
	}
	return n
}

// Events counts all events of a type.
func (w *World) Events(kind string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.log {
		if e.Type == kind {
			n++
		}
	}
	return n
}

// Server is one homeserver of a world.
type Server struct {
	World *World
	Name  string
	// Secret switches registration by shared secret on and open registration
	// off.
	Secret string
	// Timeline is the most events of a room in one sync; 0 is no limit.
	Timeline int
	// Lose says which events never reach a sync or history of a user.
	Lose func(user string, content []byte) bool
	// Limit says which requests are answered with 429.
	Limit func(r *http.Request) bool
}

// Handler serves the endpoints.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_synapse/admin/v1/register", s.nonce)
	mux.HandleFunc("POST /_synapse/admin/v1/register", s.registerBySecret)
	mux.HandleFunc("POST /_matrix/client/v3/register", s.registerOpenly)
	mux.HandleFunc("POST /_matrix/client/v3/createRoom", s.createRoom)
	mux.HandleFunc("POST /_matrix/client/v3/join/{room}", s.join)
	mux.HandleFunc("GET /_matrix/client/v3/rooms/{room}/state", s.getState)
	mux.HandleFunc("PUT /_matrix/client/v3/rooms/{room}/state/{type}/{key}", s.putState)
	mux.HandleFunc("PUT /_matrix/client/v3/rooms/{room}/send/{type}/{txn}", s.send)
	mux.HandleFunc("GET /_matrix/client/v3/rooms/{room}/messages", s.messages)
	mux.HandleFunc("GET /_matrix/client/v3/sync", s.sync)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Limit != nil && s.Limit(r) {
			answer(w, http.StatusTooManyRequests, map[string]any{"errcode": "M_LIMIT_EXCEEDED", "error": "slower", "retry_after_ms": 1})
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// An error here is the client gone; a test sees it on its own side.
	_ = json.NewEncoder(w).Encode(v)
}

// user is who a request's token says: tokens are user IDs here.
func user(r *http.Request) string {
	return strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
}

func (s *Server) nonce(w http.ResponseWriter, _ *http.Request) {
	answer(w, 200, map[string]any{"nonce": "n1"})
}

func (s *Server) registerBySecret(w http.ResponseWriter, r *http.Request) {
	var body struct{ Nonce, Username, Password, Mac string }
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		answer(w, 400, map[string]any{"errcode": "M_NOT_JSON"})
		return
	}
	mac := hmac.New(sha1.New, []byte(s.Secret))
	fmt.Fprintf(mac, "%s\x00%s\x00%s\x00notadmin", body.Nonce, body.Username, body.Password)
	if s.Secret == "" || body.Nonce != "n1" || hex.EncodeToString(mac.Sum(nil)) != body.Mac {
		answer(w, 403, map[string]any{"errcode": "M_FORBIDDEN", "error": "HMAC incorrect"})
		return
	}
	s.registered(w, body.Username)
}

func (s *Server) registerOpenly(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Username string
		Auth     struct{ Type, Session string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil || s.Secret != "" {
		answer(w, 403, map[string]any{"errcode": "M_FORBIDDEN", "error": "registration is closed"})
		return
	}
	if body.Auth.Session != "s1" || body.Auth.Type != "m.login.dummy" {
		answer(w, 401, map[string]any{"session": "s1", "flows": []any{map[string]any{"stages": []string{"m.login.dummy"}}}})
		return
	}
	s.registered(w, body.Username)
}

func (s *Server) registered(w http.ResponseWriter, localpart string) {
	who := "@" + localpart + ":" + s.Name
	answer(w, 200, map[string]any{"user_id": who, "access_token": who})
}

func (s *Server) createRoom(w http.ResponseWriter, r *http.Request) {
	s.World.mu.Lock()
	room := fmt.Sprintf("!%d:%s", len(s.World.state), s.Name)
	s.World.state[room] = 6
	s.World.enterLocked(room, user(r))
	s.World.mu.Unlock()
	answer(w, 200, map[string]any{"room_id": room})
}

func (w *World) enterLocked(room, who string) {
	if w.in[who] == nil {
		w.in[who] = make(map[string]bool)
	}
	w.in[who][room] = true
	w.state[room]++
}

func (s *Server) join(w http.ResponseWriter, r *http.Request) {
	s.World.mu.Lock()
	defer s.World.mu.Unlock()
	room := r.PathValue("room")
	_, origin, _ := strings.Cut(room, ":")
	if _, ok := s.World.state[room]; !ok || origin != s.Name && r.URL.Query().Get("via") != origin {
		answer(w, 404, map[string]any{"errcode": "M_NOT_FOUND", "error": "no such room, or no server to join by"})
		return
	}
	s.World.enterLocked(room, user(r))
	answer(w, 200, map[string]any{"room_id": room})
}

func (s *Server) getState(w http.ResponseWriter, r *http.Request) {
	s.World.mu.Lock()
	defer s.World.mu.Unlock()
	answer(w, 200, make([]struct{}, s.World.state[r.PathValue("room")]))
}

func (s *Server) putState(w http.ResponseWriter, r *http.Request) {
	s.World.mu.Lock()
	s.World.state[r.PathValue("room")]++
	s.World.mu.Unlock()
	s.append(w, r, r.PathValue("type")+"/"+r.PathValue("key"))
}

func (s *Server) send(w http.ResponseWriter, r *http.Request) {
	s.append(w, r, user(r)+"/"+r.PathValue("txn"))
}

// append adds an event; the same transaction again is the same event.
func (s *Server) append(w http.ResponseWriter, r *http.Request, txn string) {
	var content json.RawMessage
	if err := json.NewDecoder(r.Body).Decode(&content); err != nil {
		answer(w, 400, map[string]any{"errcode": "M_NOT_JSON", "error": err.Error()})
		return
	}
	s.World.mu.Lock()
	defer s.World.mu.Unlock()
	room := r.PathValue("room")
	if !s.World.in[user(r)][room] {
		answer(w, 403, map[string]any{"errcode": "M_FORBIDDEN", "error": "not in the room"})
		return
	}
	key := room + "/" + txn
	if s.World.txns[key] == "" {
		s.World.txns[key] = fmt.Sprintf("$%d", len(s.World.log))
		s.World.log = append(s.World.log, event{room, s.World.txns[key], r.PathValue("type"), user(r), content})
		close(s.World.moved)
		s.World.moved = make(chan struct{})
	}
	answer(w, 200, map[string]any{"event_id": s.World.txns[key]})
}

// sync tells what is new since a token, which is a place in the log.
func (s *Server) sync(w http.ResponseWriter, r *http.Request) {
	since, err := strconv.Atoi(r.URL.Query().Get("since"))
	if err != nil {
		since = 0
	}
	ms, _ := strconv.Atoi(r.URL.Query().Get("timeout"))
	timeout := time.NewTimer(time.Duration(ms) * time.Millisecond)
	defer timeout.Stop()
	for {
		joined, next, moved := s.changes(user(r), since)
		if len(joined) > 0 || ms == 0 {
			answer(w, 200, map[string]any{"next_batch": strconv.Itoa(next), "rooms": map[string]any{"join": joined}})
			return
		}
		select {
		case <-moved:
		case <-r.Context().Done():
			return
		case <-timeout.C:
			ms = 0
		}
	}
}

func (s *Server) changes(who string, since int) (map[string]any, int, chan struct{}) {
	s.World.mu.Lock()
	defer s.World.mu.Unlock()
	rooms := make(map[string][]int)
	for i := since; i < len(s.World.log); i++ {
		if s.visibleLocked(who, i) {
			rooms[s.World.log[i].Room] = append(rooms[s.World.log[i].Room], i)
		}
	}
	joined := make(map[string]any)
	for room, places := range rooms {
		limited := s.Timeline > 0 && len(places) > s.Timeline
		if limited {
			places = places[len(places)-s.Timeline:]
		}
		var events []event
		for _, i := range places {
			events = append(events, s.World.log[i])
		}
		joined[room] = map[string]any{"timeline": map[string]any{"events": events, "limited": limited, "prev_batch": strconv.Itoa(places[0])}}
	}
	return joined, len(s.World.log), s.World.moved
}

func (s *Server) visibleLocked(who string, i int) bool {
	e := s.World.log[i]
	return s.World.in[who][e.Room] && (s.Lose == nil || !s.Lose(who, e.Content))
}

// messages pages back, three events at a time.
func (s *Server) messages(w http.ResponseWriter, r *http.Request) {
	from, err := strconv.Atoi(r.URL.Query().Get("from"))
	if err != nil {
		answer(w, 400, map[string]any{"errcode": "M_INVALID_PARAM"})
		return
	}
	s.World.mu.Lock()
	defer s.World.mu.Unlock()
	chunk := []event{}
	for from--; from >= 0 && len(chunk) < 3; from-- {
		if e := s.World.log[from]; e.Room == r.PathValue("room") && s.visibleLocked(user(r), from) {
			chunk = append(chunk, e)
		}
	}
	page := map[string]any{"chunk": chunk}
	if from >= 0 {
		page["end"] = strconv.Itoa(from + 1)
	}
	answer(w, 200, page)
}
