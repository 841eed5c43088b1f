package stateres

import (
	"cmp"
	"container/heap"
	"context"
	"maps"

	"entente/roomserver/auth"
	"entente/roomserver/event"
)

// isPowerEvent: the event might take away someone's ability to do something.
//
// Spec: rooms/v2/#definitions, power events
func isPowerEvent(n *node) bool {
	switch n.key.Type {
	case typePowerLevels, typeJoinRules:
		return true
	case typeMember:
		switch n.PDU.Membership() {
		case "leave", "ban":
			return string(n.PDU.Sender()) != n.key.StateKey
		}
	}
	return false
}

// powerSet selects the power events of the full conflicted set, and what of
// the set is in their auth chains. Any path between two events of the set
// stays within the set and the glue, so nothing else is walked.
func (r *reader) powerSet(full, glue map[event.NID]*node) map[event.NID]*node {
	seen := map[event.NID]*node{}
	var stack []*node
	for nid, n := range full {
		if isPowerEvent(n) {
			seen[nid] = n
			stack = append(stack, n)
		}
	}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for _, nid := range n.Auth {
			if seen[nid] != nil {
				continue
			}
			a := full[nid]
			if a == nil {
				a = glue[nid]
			}
			if a != nil {
				seen[nid] = a
				stack = append(stack, a)
			}
		}
	}
	for nid := range seen {
		if full[nid] == nil {
			delete(seen, nid)
		}
	}
	return seen
}

// candidate is an event whose auth events have all been put in order.
type candidate struct {
	*node
	level int64
}

// candidates is a heap, the event to take next first.
type candidates []candidate

func (h candidates) Len() int      { return len(h) }
func (h candidates) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

func (h candidates) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[j].level, h[i].level), compareAge(h[i].node, h[j].node)) < 0
}

// Push is for container/heap.
func (h *candidates) Push(x any) { *h = append(*h, x.(candidate)) }

// Pop is for container/heap.
func (h *candidates) Pop() any {
	last := len(*h) - 1
	c := (*h)[last]
	*h = (*h)[:last]
	return c
}

// compareAge orders events by the time that they claim, then by their IDs.
func compareAge(a, b *node) int {
	return cmp.Or(cmp.Compare(a.PDU.Timestamp(), b.PDU.Timestamp()), cmp.Compare(a.PDU.ID(), b.PDU.ID()))
}

// powerOrder sorts events by the reverse topological power ordering. An event
// comes after those in its auth chain, also where the path leads through glue.
//
// Spec: rooms/v2/#definitions, reverse topological power ordering
func (r *reader) powerOrder(ctx context.Context, set, glue map[event.NID]*node) ([]*node, error) {
	graph := maps.Clone(set)
	maps.Copy(graph, glue)
	waits := make(map[event.NID]int, len(graph))
	citers := make(map[event.NID][]*node, len(graph))
	var free []*node
	for nid, n := range graph {
		for _, a := range n.Auth {
			if graph[a] != nil {
				waits[nid]++
				citers[a] = append(citers[a], n)
			}
		}
		if waits[nid] == 0 {
			free = append(free, n)
		}
	}
	levels := newSenderLevels(r)
	var queue candidates
	ordered := make([]*node, 0, len(set))
	for len(free) > 0 || queue.Len() > 0 {
		var n *node
		if last := len(free) - 1; last >= 0 {
			n, free = free[last], free[:last]
			if set[n.NID] != nil {
				level, err := levels.of(ctx, n)
				if err != nil {
					return nil, err
				}
				heap.Push(&queue, candidate{node: n, level: level})
				continue
			}
		} else {
			n = heap.Pop(&queue).(candidate).node
			ordered = append(ordered, n)
		}
		for _, c := range citers[n.NID] {
			if waits[c.NID]--; waits[c.NID] == 0 {
				free = append(free, c)
			}
		}
	}
	return ordered, nil
}

// senderLevels finds the power of events' senders by their auth events.
type senderLevels struct {
	r      *reader
	parsed map[[2]event.NID]*auth.PowerLevels
}

func newSenderLevels(r *reader) *senderLevels {
	return &senderLevels{r: r, parsed: map[[2]event.NID]*auth.PowerLevels{}}
}

// of is the power of the event's sender according to its auth events, which
// have been read.
func (s *senderLevels) of(ctx context.Context, n *node) (int64, error) {
	if n.key.Type == typeCreate {
		return auth.CreatorLevel, nil
	}
	create := s.r.authAt(n, event.Key{Type: typeCreate})
	if create == nil {
		var err error
		if create, err = s.r.sharedAt(ctx, event.Key{Type: typeCreate}); create == nil || err != nil {
			return 0, err
		}
	}
	which := [2]event.NID{create.NID}
	var pdu *event.PDU
	if pl := s.r.authAt(n, event.Key{Type: typePowerLevels}); pl != nil {
		which[1], pdu = pl.NID, pl.PDU
	}
	levels, ok := s.parsed[which]
	if !ok {
		// Malformed power levels are refused on arrival; should one be
		// cited all the same, nobody has power by it.
		levels, _ = auth.ParsePowerLevels(create.PDU, pdu)
		s.parsed[which] = levels
	}
	if levels == nil {
		return 0, nil
	}
	return levels.UserLevel(n.PDU.Sender()), nil
}
