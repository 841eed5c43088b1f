package stateres_test

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"math"
	"slices"

	"entente/roomserver/auth"
	"entente/roomserver/event"
)

// naive writes the specification out as it stands, on full states and full
// auth chains. It is the oracle.
type naive struct {
	*room
	states []state
	chains map[event.NID]set
}

type set map[event.NID]bool

func (r *room) naive(states ...state) state {
	n := &naive{room: r, states: states, chains: map[event.NID]set{}}
	if r.rules.StateResolution == event.StateResV1 {
		return n.v1()
	}
	return n.v2()
}

// authChain: "the set containing all of E's auth events, all of their auth
// events, and so on recursively".
func (n *naive) authChain(nid event.NID) set {
	if c, ok := n.chains[nid]; ok {
		return c
	}
	c := set{}
	for _, a := range n.events[nid].Auth {
		c[a] = true
		for b := range n.authChain(a) {
			c[b] = true
		}
	}
	n.chains[nid] = c
	return c
}

// split: "If a given key K is present in every Si with the same value V in
// each state map, then the pair belongs to the unconflicted state map.
// Otherwise, V belongs to the conflicted state set."
func (n *naive) split() (unconflicted state, conflicted set) {
	unconflicted, conflicted = state{}, set{}
	for _, s := range n.states {
		for k, v := range s {
			everywhere := true
			for _, other := range n.states {
				everywhere = everywhere && other[k] == v
			}
			if everywhere {
				unconflicted[k] = v
			} else {
				conflicted[v] = true
			}
		}
	}
	return unconflicted, conflicted
}

// authDifference: "first calculating the full auth chain for each state Si,
// that is the union of the auth chains for each event in Si, and then taking
// every event that doesn't appear in every auth chain".
func (n *naive) authDifference() set {
	count := map[event.NID]int{}
	for _, s := range n.states {
		full := set{}
		for _, v := range s {
			for a := range n.authChain(v) {
				full[a] = true
			}
		}
		for a := range full {
			count[a]++
		}
	}
	diff := set{}
	for a, c := range count {
		if c < len(n.states) {
			diff[a] = true
		}
	}
	return diff
}

// subgraph: "Starting from an event in the conflicted state set and following
// auth_events edges may lead to another event in the conflicted state set. The
// union of all such paths ... (including endpoints)".
func (n *naive) subgraph(conflicted set) set {
	sub := set{}
	for from := range conflicted {
		for x := range n.authChain(from) {
			if conflicted[x] {
				sub[from], sub[x] = true, true
			}
			for y := range n.authChain(x) {
				if conflicted[y] {
					sub[x] = true
				}
			}
		}
	}
	return sub
}

func (n *naive) isPower(nid event.NID) bool {
	p := n.events[nid].PDU
	switch k := n.keys[nid]; k.Type {
	case "m.room.power_levels", "m.room.join_rules":
		return true
	case "m.room.member":
		return (p.Membership() == "leave" || p.Membership() == "ban") && string(p.Sender()) != k.StateKey
	}
	return false
}

func (n *naive) authAt(nid event.NID, key event.Key) event.NID {
	for _, a := range n.events[nid].Auth {
		if n.keys[a] == key {
			return a
		}
	}
	return 0
}

// senderLevel is the sender's power "when looking at their respective
// auth_events". The create event is number 1.
func (n *naive) senderLevel(nid event.NID) int64 {
	var pl *event.PDU
	if a := n.authAt(nid, event.Key{Type: "m.room.power_levels"}); a != 0 {
		pl = n.events[a].PDU
	}
	levels, err := auth.ParsePowerLevels(n.events[1].PDU, pl)
	if err != nil {
		return 0
	}
	return levels.UserLevel(n.events[nid].PDU.Sender())
}

func (n *naive) age(a, b event.NID) int {
	x, y := n.events[a].PDU, n.events[b].PDU
	return cmp.Or(cmp.Compare(x.Timestamp(), y.Timestamp()), cmp.Compare(x.ID(), y.ID()))
}

// powerOrder: "at each step selecting, among all the candidate vertices, the
// smallest vertex".
func (n *naive) powerOrder(x set) []event.NID {
	left := set{}
	for e := range x {
		left[e] = true
	}
	var out []event.NID
	for len(left) > 0 {
		var best event.NID
		for e := range left {
			ready := true
			for a := range n.authChain(e) {
				ready = ready && !left[a]
			}
			if !ready {
				continue
			}
			if best == 0 || cmp.Or(cmp.Compare(n.senderLevel(best), n.senderLevel(e)), n.age(e, best)) < 0 {
				best = e
			}
		}
		out = append(out, best)
		delete(left, best)
	}
	return out
}

func (n *naive) mainlineOrder(power event.NID, x set) []event.NID {
	plKey := event.Key{Type: "m.room.power_levels"}
	position := map[event.NID]int{}
	for p, i := power, 0; p != 0; p, i = n.authAt(p, plKey), i+1 {
		position[p] = i
	}
	of := func(e event.NID) int {
		for p := n.authAt(e, plKey); p != 0; p = n.authAt(p, plKey) {
			if i, ok := position[p]; ok {
				return i
			}
		}
		return math.MaxInt
	}
	var out []event.NID
	for e := range x {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b event.NID) int { return cmp.Or(cmp.Compare(of(b), of(a)), n.age(a, b)) })
	return out
}

// iterate: "If a key that is required for checking the authorisation rules is
// not present in the state, then the appropriate state event from the event's
// auth_events is used if the auth event is not rejected."
func (n *naive) iterate(s state, order []event.NID) {
	for _, e := range order {
		view := state{}
		for _, a := range n.events[e].Auth {
			if !n.events[a].Rejected {
				view[n.keys[a]] = a
			}
		}
		for k, v := range s {
			view[k] = v
		}
		if n.allowed(n.events[e].PDU, view) {
			s[n.keys[e]] = e
		}
	}
}

func (n *naive) v2() state {
	v21 := n.rules.StateResolution == event.StateResV21
	unconflicted, full := n.split()
	if v21 {
		for e := range n.subgraph(full) {
			full[e] = true
		}
	}
	for e := range n.authDifference() {
		full[e] = true
	}
	x := set{}
	for e := range full {
		if n.isPower(e) {
			x[e] = true
			for a := range n.authChain(e) {
				if full[a] {
					x[a] = true
				}
			}
		}
	}
	s := state{}
	if !v21 {
		for k, v := range unconflicted {
			s[k] = v
		}
	}
	n.iterate(s, n.powerOrder(x))
	rest := set{}
	for e := range full {
		if !x[e] {
			rest[e] = true
		}
	}
	n.iterate(s, n.mainlineOrder(s[event.Key{Type: "m.room.power_levels"}], rest))
	for k, v := range unconflicted {
		s[k] = v
	}
	return s
}

// v1 is the algorithm of room version 1. Its passes are over types; see the
// package for what the specification leaves open.
func (n *naive) v1() state {
	r := state{}
	lists := map[event.Key][]event.NID{}
	for _, s := range n.states {
		for k, v := range s {
			if !slices.Contains(lists[k], v) {
				lists[k] = append(lists[k], v)
			}
		}
	}
	for k, list := range lists {
		if len(list) == 1 {
			r[k] = list[0]
			delete(lists, k)
			continue
		}
		slices.SortFunc(list, func(a, b event.NID) int { // ascending depth, then descending sha1
			x, y := n.events[a].PDU, n.events[b].PDU
			hx, hy := sha1.Sum([]byte(x.ID())), sha1.Sum([]byte(y.ID()))
			return cmp.Or(cmp.Compare(x.Depth(), y.Depth()), bytes.Compare(hy[:], hx[:]))
		})
	}
	for _, typ := range []string{"m.room.power_levels", "m.room.join_rules", "m.room.member"} {
		found := state{}
		for k, list := range lists {
			if k.Type != typ || typ == "m.room.power_levels" && k.StateKey != "" {
				continue
			}
			view := state{}
			for k, v := range r {
				view[k] = v
			}
			view[k] = list[0]
			for _, e := range list[1:] {
				if !n.allowed(n.events[e].PDU, view) {
					break
				}
				view[k] = e
			}
			found[k] = view[k]
			delete(lists, k)
		}
		for k, v := range found {
			r[k] = v
		}
	}
	found := state{}
	for k, list := range lists {
		found[k] = list[0]
		for i := len(list) - 1; i >= 0; i-- {
			if n.allowed(n.events[list[i]].PDU, r) {
				found[k] = list[i]
				break
			}
		}
	}
	for k, v := range found {
		r[k] = v
	}
	return r
}
