package stateres_test

import (
	"bufio"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// line is one line of a recorded room: what it is about, an event, the state
// of a fork, or the state that the forks resolve to in some room versions.
type line struct {
	About string `json:"about"`
	Event *struct {
		ID       id.EventID     `json:"id"`
		Type     string         `json:"type"`
		StateKey string         `json:"state_key"`
		Sender   string         `json:"sender"`
		Content  map[string]any `json:"content"`
		Auth     []id.EventID   `json:"auth"`
		Prev     []id.EventID   `json:"prev"`
		TS       int64          `json:"ts"`
	} `json:"event"`
	Fork     []id.EventID    `json:"fork"`
	Versions []event.Version `json:"versions"`
	State    []id.EventID    `json:"state"`
}

func readRecorded(t *testing.T, path string) []line {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var lines []line
	for s := bufio.NewScanner(f); s.Scan(); {
		var l line
		d := json.NewDecoder(strings.NewReader(s.Text()))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		lines = append(lines, l)
	}
	return lines
}

// replay builds the room in a version, with the auth events that the version
// wants, and checks on the way that each event is allowed by them.
func replay(t *testing.T, lines []line, version event.Version) (*room, []state) {
	t.Helper()
	r := newRoom(t, version)
	numbers := func(ids []id.EventID) []event.NID {
		var out []event.NID
		for _, i := range ids {
			nid := r.byID[i]
			if nid == 0 {
				t.Fatalf("no event %s", i)
			}
			out = append(out, nid)
		}
		return out
	}
	var forks []state
	for i, l := range lines {
		if e := l.Event; e != nil {
			d := draft{typ: e.Type, stateKey: e.StateKey, sender: e.Sender, content: e.Content, id: e.ID,
				prev: numbers(e.Prev), ts: e.TS}
			if d.ts == 0 {
				d.ts = int64(i)
			}
			for _, a := range numbers(e.Auth) {
				if !r.rules.RoomIDIsCreateHash || r.keys[a].Type != "m.room.create" {
					d.auth = append(d.auth, a)
				}
			}
			if e.Type == "m.room.power_levels" {
				d.content = withCreator(r.rules, e.Content)
			}
			view := state{}
			for _, a := range d.auth {
				view[r.keys[a]] = a
			}
			if p := r.pdu(d); len(r.events) > 1 && !r.allowed(p, view) {
				t.Fatalf("version %s: %s is not allowed by its auth events", version, e.ID)
			}
			r.add(d)
		}
		if l.Fork != nil {
			forks = append(forks, r.stateOf(numbers(l.Fork)))
		}
	}
	return r, forks
}

// withCreator gives Alice, who creates the recorded rooms, power where the
// version does not do so by itself. Version 12 forbids to name her.
func withCreator(rules *event.Rules, content map[string]any) map[string]any {
	if rules.PrivilegedCreators {
		return content
	}
	users := maps.Clone(content["users"].(map[string]any))
	users["@alice:a.example"] = 100
	content = maps.Clone(content)
	content["users"] = users
	return content
}

func (r *room) stateOf(nids []event.NID) state {
	s := state{}
	for _, nid := range nids {
		s[r.keys[nid]] = nid
	}
	return s
}

// TestRecordedRooms resolves rooms written by hand, most of them after what
// went wrong in real ones, to the states that are written down with them.
func TestRecordedRooms(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.jsonl")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no recorded rooms: %v", err)
	}
	for _, path := range paths {
		lines := readRecorded(t, path)
		for _, l := range lines {
			for _, v := range l.Versions {
				t.Run(strings.TrimSuffix(filepath.Base(path), ".jsonl")+" in version "+string(v), func(t *testing.T) {
					r, forks := replay(t, lines, v)
					want := state{}
					for _, i := range l.State {
						want[r.keys[r.byID[i]]] = r.byID[i]
					}
					if d := r.diff(want, r.forks(forks...).resolve()); d != "" {
						t.Errorf("%s\n%s", lines[0].About, d)
					}
					if d := r.diff(want, r.naive(forks...)); d != "" {
						t.Errorf("the oracle disagrees with the recording:\n%s", d)
					}
				})
			}
		}
	}
}
