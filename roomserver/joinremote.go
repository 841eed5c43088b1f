package roomserver

import (
	"context"
	"encoding/json"
	"runtime"
	"slices"
	"sync"

	"entente/federation/client"
	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// joinRemote joins a room through a server that is in it.
//
// Spec: server-server-api/#joining-rooms
func (s *Server) joinRemote(ctx context.Context, req MemberRequest) error {
	return s.through(ctx, req, func(server string) error {
		t, err := s.peers.MakeJoin(ctx, server, req.Room, req.Target, event.SupportedVersions())
		if err != nil {
			return err
		}
		if err := s.policy.room(t.Version, server); err != nil {
			return err
		}
		h, err := s.makeMembership(ctx, req, "join", t)
		if err != nil {
			return err
		}
		h.server = server
		j, err := s.sendJoin(ctx, h)
		if err != nil {
			return err
		}
		r, err := s.room(h.info)
		if err != nil {
			return err
		}
		defer s.release(r)
		return s.enterRoom(ctx, r, j)
	})
}

// arrival is what a resident server answered to a join: parsed and verified.
type arrival struct {
	join  *event.PDU
	state []*event.PDU
	auth  []*event.PDU
}

// sendJoin sends the join and checks the events of the answer as they arrive,
// on all processors.
func (s *Server) sendJoin(ctx context.Context, h *handshake) (*arrival, error) {
	j := &arrival{join: h.pdu}
	in := s.newIntake(ctx, h)
	answer, err := s.peers.SendJoin(ctx, h.server, client.SendJoinRequest{
		Room: h.info.ID, EventID: h.pdu.ID(), Event: h.pdu.JSON(),
	}, in.receive)
	in.finish()
	if err != nil {
		return nil, err
	}
	j.state, j.auth = in.parts[client.StatePart], in.parts[client.AuthPart]
	if answer.Event != nil {
		signed, err := event.Parse(h.rules, answer.Event)
		if err != nil || signed.ID() != h.pdu.ID() {
			return nil, fault.Wrap(err, fault.Unreachable, "%s answered the join with another event", h.server)
		}
		if err := s.keys.VerifyPDU(ctx, signed); err != nil {
			return nil, err
		}
		j.join = signed
	}
	return j, nil
}

// intakeBatch is how many events are verified at a time.
const intakeBatch = 64

// intake parses and verifies events as they arrive.
type intake struct {
	ctx     context.Context
	server  *Server
	rules   *event.Rules
	room    id.RoomID
	batches chan batch
	workers sync.WaitGroup
	filling map[client.Part][]json.RawMessage

	mu    sync.Mutex
	parts map[client.Part][]*event.PDU // guarded by mu
}

type batch struct {
	part client.Part
	raws []json.RawMessage
}

func (s *Server) newIntake(ctx context.Context, h *handshake) *intake {
	in := &intake{
		ctx: ctx, server: s, rules: h.rules, room: h.info.ID, batches: make(chan batch, 4),
		filling: map[client.Part][]json.RawMessage{}, parts: map[client.Part][]*event.PDU{},
	}
	for range runtime.GOMAXPROCS(0) {
		in.workers.Go(func() {
			for b := range in.batches {
				in.check(b)
			}
		})
	}
	return in
}

func (in *intake) receive(part client.Part, raw json.RawMessage) error {
	in.filling[part] = append(in.filling[part], raw)
	if len(in.filling[part]) == intakeBatch {
		in.batches <- batch{part, in.filling[part]}
		in.filling[part] = nil
	}
	return in.ctx.Err()
}

// check keeps the events of a batch that are well-formed, of the room and
// signed.
func (in *intake) check(b batch) {
	pdus := make([]*event.PDU, 0, len(b.raws))
	for _, raw := range b.raws {
		if pdu, err := event.Parse(in.rules, raw); err == nil && pdu.RoomID() == in.room {
			pdus = append(pdus, pdu)
		}
	}
	failures := in.server.keys.VerifyPDUs(in.ctx, pdus)
	in.mu.Lock()
	defer in.mu.Unlock()
	for i, err := range failures {
		if err == nil {
			in.parts[b.part] = append(in.parts[b.part], pdus[i])
		}
	}
}

// finish waits until everything that was received is checked.
func (in *intake) finish() {
	for part, raws := range in.filling {
		if len(raws) > 0 {
			in.batches <- batch{part, raws}
		}
	}
	close(in.batches)
	in.workers.Wait()
}

// enterRoom makes a join live: the state of the room is stored while nobody
// can see it, then one commit makes it the room's.
func (s *Server) enterRoom(ctx context.Context, r *room, j *arrival) error {
	if err := r.hold(ctx); err != nil {
		return err
	}
	if err := r.loadHeld(ctx); err != nil {
		r.unhold()
		return err
	}
	known, err := r.storeOutliersHeld(ctx, append(slices.Clone(j.auth), j.state...))
	r.unhold()
	if err != nil {
		return err
	}
	_, err = s.update(ctx, r, func(p *proposal) error {
		in := &incoming{proposal: p, known: known, event: &storage.Event{Room: r.info.NID, PDU: j.join}}
		return in.arrive(j)
	})
	return err
}

// arrive enters the join on the state that the resident server stated.
func (in *incoming) arrive(j *arrival) error {
	var authEvents []*storage.Event
	for _, eventID := range j.join.AuthEvents() {
		a := in.known[eventID]
		if a == nil {
			return fault.New(fault.Unreachable, "The other server left out what allows the join")
		}
		authEvents = append(authEvents, a)
	}
	in.authEvents = authEvents
	before, entries, err := in.statedState(j.state)
	if err != nil {
		return err
	}
	in.event.Before = before
	if create := in.known[in.room.createID()]; create != nil || !in.room.rules.RoomIDIsCreateHash {
		var pdu *event.PDU
		if in.room.rules.RoomIDIsCreateHash {
			pdu = create.PDU
		}
		if err := in.room.allowedByAuthEvents(j.join, authEvents, pdu); err != nil {
			return err
		}
	}
	if err := in.room.checker.Check(j.join, in.room.lookup(in.ctx, before)); err != nil {
		return err
	}
	return in.takeOver(entries)
}

// statedState is the root of the state that a peer stated, and its entries.
func (in *incoming) statedState(stated []*event.PDU) (state.Root, int, error) {
	want := make(map[state.KeyNum]event.NID, len(stated))
	keys := make([]event.Key, 0, len(stated))
	for _, pdu := range stated {
		if key, ok := stateKey(pdu); ok {
			keys = append(keys, key)
		}
	}
	nums, err := in.server.keyNums(in.ctx, in.room.info.NID, keys)
	if err != nil {
		return 0, 0, err
	}
	for _, pdu := range stated {
		key, ok := stateKey(pdu)
		e := in.known[pdu.ID()]
		num, numbered := nums[key]
		if ok && numbered && e != nil && e.Status != storage.Rejected {
			want[num] = e.NID
		}
	}
	n := len(want)
	entries, err := in.room.changes(in.ctx, in.head.Root, want)
	if err != nil {
		return 0, 0, err
	}
	root, err := in.setAll(in.head.Root, entries)
	return root, n, err
}

// inlineChanges is how many changes of the current state a commit lists; more
// are staged, and the commit says that all keys may have changed.
const inlineChanges = 200

// takeOver makes the join the room's only forward extremity and its state the
// current one.
func (in *incoming) takeOver(entries int) error {
	e := in.event
	var err error
	if e.NID, err = in.nid(); err != nil {
		return err
	}
	if err := in.describe(e, in.authEvents); err != nil {
		return err
	}
	e.Status = storage.Accepted
	key, _ := stateKey(e.PDU)
	if e.Replaces, err = in.room.at(in.ctx, e.Before, key); err != nil {
		return err
	}
	if e.After, _, err = in.set(e.Before, key, e.NID); err != nil {
		return err
	}
	for _, eventID := range e.PDU.PrevEvents() {
		in.write = append(in.write, &storage.MissingPrev{Room: e.Room, EventID: eventID, CitedBy: e.NID})
	}
	if in.head.Root == 0 || entries > inlineChanges {
		if err := in.stageMembers(e.After); err != nil {
			return err
		}
	}
	in.proposal.enter(e, []*storage.Event{e})
	in.head.Depth = e.PDU.Depth()
	in.server.events.put(e)
	in.write = append(in.write, e)
	if in.bulk != nil {
		return in.bulkMove(e)
	}
	return in.moveTo(e.After)
}
