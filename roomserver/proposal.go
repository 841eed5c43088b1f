package roomserver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// Committed is what a commit of a room did, as followers of the log find it
// attached to the entry on the node that made it.
type Committed struct {
	Room *storage.RoomInfo
	// Events entered the live timeline, in order.
	Events []*storage.Event
	// Deltas are the changes of the current state.
	Deltas []*storage.Delta
	// Members are the memberships that changed.
	Members []*storage.Member
	// Last is the commit's last position.
	Last storage.Position
	// Request is the client's request that made the last event; nil when there
	// was none with a transaction ID.
	Request *ClientRequest

	existing id.EventID       // what made a change unnecessary
	redacted []*storage.Event // redacted forms of events
}

// proposal is a change of a room while it is built.
type proposal struct {
	ctx    context.Context
	server *Server
	room   *room
	base   event.NID // version of the head it is built on
	head   *head     // where it takes the room; replaces room.head

	done      Committed
	write     []storage.Row
	touch     []storage.Subject
	audit     []storage.AuditRecord
	once      *storage.Transaction
	positions int
	exclude   string                        // the server that sent us the event, which needs no copy
	run       map[id.EventID]*storage.Event // peers' events that it lets in; nil for a single one
	foreseen  *foreseen                     // what was read for all of the run
	refusal   error                         // of governance, of an event from a peer
	past      bool                          // the event lies behind a gap of the history
	relay     bool                          // the event was accepted for a server that is not in the room
	keys      []event.Key                   // state keys that it numbers
	placer    *placer
}

const proposalAttempts = 20

// update builds a change on the room's head and commits it, again and again
// while others move the head first. When it returns without an error the
// change is durable, and applied on this node.
func (s *Server) update(ctx context.Context, r *room, build func(p *proposal) error) (*Committed, error) {
	var err error
	for range proposalAttempts {
		var done *Committed
		if done, err = s.tryUpdate(ctx, r, build); err == nil {
			return done, nil
		}
		if errors.Is(err, storage.ErrPolicyChanged) {
			if err := s.policy.refresh(ctx); err != nil {
				return nil, err
			}
		}
		if !errors.Is(err, storage.ErrConflict) && !errors.Is(err, storage.ErrExists) && !errors.Is(err, state.ErrMissing) {
			return nil, err
		}
	}
	return nil, fault.Wrap(err, fault.Unavailable, "The room is changing too fast; try again")
}

func (s *Server) tryUpdate(ctx context.Context, r *room, build func(p *proposal) error) (*Committed, error) {
	if err := r.hold(ctx); err != nil {
		return nil, err
	}
	ticket, p, generation, err := s.propose(ctx, r, build)
	r.unhold()
	if err != nil {
		return nil, err
	}
	if ticket == nil { // there was nothing to do
		return &p.done, nil
	}
	if p.done.Last, err = ticket.Wait(ctx); err != nil {
		if ctx.Err() == nil {
			r.held <- struct{}{}
			r.resetHeld(generation)
			r.unhold()
		}
		return nil, busy(err)
	}
	return &p.done, nil
}

// busy turns a full queue into what the caller should see.
func busy(err error) error {
	if errors.Is(err, storage.ErrBusy) || errors.Is(err, storage.ErrClosed) {
		return fault.Wrap(err, fault.Unavailable, "The server is busy; try again")
	}
	return err
}

// propose builds a proposal on the room that the caller holds, and enqueues it.
func (s *Server) propose(ctx context.Context, r *room, build func(p *proposal) error) (*storage.Ticket, *proposal, int, error) {
	if err := r.loadHeld(ctx); err != nil {
		return nil, nil, 0, err
	}
	h := *r.head
	p := &proposal{
		ctx: ctx, server: s, room: r, base: h.Version, head: &h, done: Committed{Room: r.info},
	}
	policy := s.policy.expect()
	if err := build(p); err != nil {
		for _, key := range p.keys {
			delete(r.keys, key)
		}
		return nil, nil, 0, err
	}
	if p.positions == 0 && len(p.write) == 0 {
		return nil, p, 0, nil
	}
	ticket, err := s.db.Enqueue(ctx, p.commit(policy))
	if err != nil {
		r.resetHeld(r.generation)
		return nil, nil, 0, busy(err)
	}
	r.head, r.last = p.head, ticket
	return ticket, p, r.generation, nil
}

// commit is the proposal as a value for the committer.
func (p *proposal) commit(policy []storage.Precondition) storage.Commit {
	c := storage.Commit{Positions: p.positions, Write: p.write, Touch: p.touch, Audit: p.audit, Attachment: &p.done}
	if p.once != nil {
		c.Expect = append(c.Expect, storage.Once(p.once.Key))
		c.Write = append(c.Write, p.once)
	}
	c.Expect = append(c.Expect, policy...)
	c.Expect = append(c.Expect, storage.RoomHead(p.room.info.NID, p.base), storage.Collection(p.room.info.NID, p.head.Collection))
	if p.positions > 0 {
		c.Touch = append(c.Touch, storage.Subject{Kind: storage.Room, ID: int64(p.room.info.NID)})
	}
	if n := len(p.done.Events); n > 0 {
		h := p.head.Head
		c.Write = append(c.Write, h.At(p.positions-1))
	}
	return c
}

// nid is the number of a new event.
func (p *proposal) nid() (event.NID, error) {
	return p.server.db.AllocateEvents(p.ctx, 1)
}

// enter puts an event into the live timeline, with the state before and after
// it. latest says which extremities it leaves.
func (p *proposal) enter(e *storage.Event, latest []*storage.Event) {
	e.At(p.positions)
	e.Top = p.head.Depth
	p.positions++
	p.head.Version = e.NID
	p.head.Depth = max(p.head.Depth, e.PDU.Depth())
	p.head.latest = latest
	p.head.Latest = make([]event.NID, len(latest))
	for i, l := range latest {
		p.head.Latest[i] = l.NID
	}
	p.done.Events = append(p.done.Events, e)
}

// moveTo makes root the current state, at the position of the event that
// entered last.
func (p *proposal) moveTo(root state.Root) error {
	for d, err := range p.room.state.Diff(p.ctx, p.head.Root, root) {
		if err != nil {
			return err
		}
		if err := p.change(d.Key, d.A, d.B, root); err != nil {
			return err
		}
	}
	p.head.Root = root
	return nil
}

// change notes that a key of the current state changed, and moves what is
// projected from it.
func (p *proposal) change(num state.KeyNum, old, new event.NID, root state.Root) error {
	d := &storage.Delta{Room: p.room.info.NID, Num: num, Old: old, New: new, Root: root}
	d.At(p.positions - 1)
	p.write = append(p.write, d)
	p.done.Deltas = append(p.done.Deltas, d)
	var before, after *storage.Event
	var err error
	if old != 0 {
		if before, err = p.server.eventOf(p.ctx, p.room.info, old); err != nil {
			return err
		}
	}
	if new != 0 {
		if after, err = p.server.eventOf(p.ctx, p.room.info, new); err != nil {
			return err
		}
	}
	subject := after
	if subject == nil {
		subject = before
	}
	if subject == nil || subject.PDU.Type() != typeMember {
		return nil
	}
	return p.changeMember(before, after)
}

// changeMember moves the projections of a membership: the member's row, the
// counts and the set of servers.
func (p *proposal) changeMember(before, after *storage.Event) error {
	was, is := membershipOf(before), membershipOf(after)
	p.head.Joined += count(is, storage.Join) - count(was, storage.Join)
	p.head.Invited += count(is, storage.Invite) - count(was, storage.Invite)
	subject := after
	if subject == nil {
		subject = before
	}
	key, _ := subject.PDU.StateKey()
	user := id.UserID(key)
	if after == nil {
		p.write = append(p.write, &storage.NoMember{Room: p.room.info.NID, User: user})
	} else {
		m := &storage.Member{
			Room: p.room.info.NID, User: user, Membership: is, Event: after.NID, Sender: after.PDU.Sender(), Local: p.server.Local(user),
		}
		p.write = append(p.write, m.At(p.positions-1))
		p.done.Members = append(p.done.Members, m)
	}
	if p.server.Local(user) {
		touched, err := p.server.db.UserSubject(p.ctx, storage.User, user)
		if err != nil {
			return err
		}
		p.touch = append(p.touch, touched)
	}
	if was == is || was != storage.Join && is != storage.Join {
		return nil
	}
	return p.changeServer(event.ServerOf(user), count(is, storage.Join)-count(was, storage.Join))
}

// membershipOf is what a member event says; none is leave.
func membershipOf(e *storage.Event) storage.Membership {
	if e == nil {
		return storage.Leave
	}
	m, _ := storage.ParseMembership(e.PDU.Membership())
	return m
}

func count(m, counted storage.Membership) int64 {
	if m == counted {
		return 1
	}
	return 0
}

// changeServer counts a server's joined members, and the set of servers when
// one comes or goes.
func (p *proposal) changeServer(server string, by int64) error {
	if p.head.servers == nil {
		stored, err := p.server.db.Latest().RoomServers(p.ctx, p.room.info.NID)
		if err != nil {
			return err
		}
		p.head.servers = stored
	} else {
		p.head.servers = maps.Clone(p.head.servers)
	}
	was := p.head.servers[server]
	is := was + by
	p.head.servers[server] = is
	if is == 0 {
		delete(p.head.servers, server)
	}
	p.write = append(p.write, &storage.ServerMembers{Room: p.room.info.NID, Server: server, Joined: is})
	if server == p.server.name || (was > 0) == (is > 0) {
		return nil
	}
	names := make([]string, 0, len(p.head.servers))
	for name := range p.head.servers {
		if name != p.server.name {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	p.head.Destinations = storage.ServerSet(names)
	return nil
}

// set makes the state after an event: root with the event at its key. The new
// rows and the key's number, if it had none, are written with the proposal.
func (p *proposal) set(root state.Root, key event.Key, nid event.NID) (state.Root, state.KeyNum, error) {
	num, err := p.number(key)
	if err != nil {
		return 0, 0, err
	}
	after, err := p.setAll(root, []state.Entry{{Key: num, NID: nid}})
	return after, num, err
}

func (p *proposal) setAll(root state.Root, entries []state.Entry) (state.Root, error) {
	after, rows, err := p.room.state.Set(p.ctx, root, entries, p.server.db.AllocateNode)
	if err != nil {
		return 0, fmt.Errorf("change the state of %s: %w", p.room.info.ID, err)
	}
	for _, row := range rows {
		p.write = append(p.write, &storage.StateNode{Room: p.room.info.NID, Row: row})
	}
	return after, nil
}

// number is the number of a state key, given now if it has none.
func (p *proposal) number(key event.Key) (state.KeyNum, error) {
	num, ok, err := p.room.keyNum(p.ctx, key)
	if err != nil || ok {
		return num, err
	}
	row := p.room.numberKey(key)
	p.keys = append(p.keys, key)
	p.write = append(p.write, row)
	return row.Num, nil
}

// numberKey gives a state key the next number of the room. The caller holds
// the room and writes the row. Numbers of what is never written are not used
// again while the room is in memory.
func (r *room) numberKey(key event.Key) *storage.StateKey {
	if len(r.keys) >= fresh {
		clear(r.keys)
	}
	row := &storage.StateKey{Room: r.info.NID, Num: state.KeyNum(r.nextKey), Key: key}
	r.nextKey++
	r.keys[key] = row.Num
	return row
}
