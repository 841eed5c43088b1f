package roomserver

import (
	"slices"

	"entente/roomserver/event"
	"entente/roomserver/state"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// stagedChunk is how many members one unclocked commit writes.
const stagedChunk = 500

// bulkState is a change of the current state that is too large for one commit:
// what is projected from it is counted and staged.
type bulkState struct {
	joined, invited int64
	servers         map[string]int64
	local           []*storage.Member // written with the commit
}

// stageMembers writes the members of a state that is about to become current,
// while nobody reads them: the server is not in the room.
func (in *incoming) stageMembers(root state.Root) error {
	b := &bulkState{servers: map[string]int64{}}
	var nids []event.NID
	var gone []state.KeyNum
	for d, err := range in.room.state.Diff(in.ctx, in.head.Root, root) {
		if err != nil {
			return err
		}
		if d.B != 0 {
			nids = append(nids, d.B)
		} else {
			gone = append(gone, d.Key)
		}
	}
	if in.head.Root != 0 {
		nids = nids[:0]
		for entry, err := range in.room.state.All(in.ctx, root) {
			if err != nil {
				return err
			}
			nids = append(nids, entry.NID)
		}
	}
	write, err := in.goneMembers(gone)
	if err != nil {
		return err
	}
	for chunk := range slices.Chunk(nids, stagedChunk) {
		events, err := in.stored(chunk)
		if err != nil {
			return err
		}
		for _, e := range events {
			if m := in.countMember(b, e); m != nil {
				write = append(write, m)
			}
		}
		if err := in.server.db.Stage(in.ctx, write...); err != nil {
			return err
		}
		write = nil
	}
	return in.stageServers(b)
}

// stored finds events of the state, the one that is entering among them.
func (in *incoming) stored(nids []event.NID) ([]*storage.Event, error) {
	in.server.events.put(in.event)
	return in.server.eventsOf(in.ctx, in.room.info, nids)
}

// goneMembers are the rows of members that the state no longer has.
func (in *incoming) goneMembers(gone []state.KeyNum) ([]storage.Row, error) {
	keys, err := in.room.keysOf(in.ctx, gone)
	if err != nil {
		return nil, err
	}
	var out []storage.Row
	for _, key := range keys {
		if key.Type == typeMember {
			out = append(out, &storage.NoMember{Room: in.room.info.NID, User: id.UserID(key.StateKey)})
		}
	}
	return out, nil
}

// countMember counts a member; the answer is the row of a remote one, since
// local ones are told of their membership by the commit.
func (in *incoming) countMember(b *bulkState, e *storage.Event) *storage.Member {
	key, _ := stateKey(e.PDU)
	if key.Type != typeMember {
		return nil
	}
	user := id.UserID(key.StateKey)
	is := membershipOf(e)
	b.joined += count(is, storage.Join)
	b.invited += count(is, storage.Invite)
	if is == storage.Join {
		b.servers[event.ServerOf(user)]++
	}
	m := &storage.Member{
		Room: in.room.info.NID, User: user, Membership: is, Event: e.NID, Sender: e.PDU.Sender(), Local: in.server.Local(user),
	}
	if m.Local {
		b.local = append(b.local, m)
		return nil
	}
	return m
}

func (in *incoming) stageServers(b *bulkState) error {
	before, err := in.server.db.Latest().RoomServers(in.ctx, in.room.info.NID)
	if err != nil {
		return err
	}
	var write []storage.Row
	for server, joined := range b.servers {
		write = append(write, &storage.ServerMembers{Room: in.room.info.NID, Server: server, Joined: joined})
	}
	for server := range before {
		if b.servers[server] == 0 {
			write = append(write, &storage.ServerMembers{Room: in.room.info.NID, Server: server})
		}
	}
	in.bulk = b
	return in.server.db.Stage(in.ctx, write...)
}

// bulkMove makes the staged state current with the event that has just
// entered.
func (in *incoming) bulkMove(e *storage.Event) error {
	b := in.bulk
	in.head.Joined, in.head.Invited, in.head.servers = b.joined, b.invited, b.servers
	var names []string
	for server := range b.servers {
		if server != in.server.name {
			names = append(names, server)
		}
	}
	slices.Sort(names)
	in.head.Destinations = storage.ServerSet(names)
	in.head.Root = e.After
	d := &storage.Delta{Room: e.Room, Num: storage.AllKeys, Root: e.After}
	in.write = append(in.write, d.At(in.positions-1))
	in.done.Deltas = append(in.done.Deltas, d)
	for _, m := range b.local {
		in.write = append(in.write, m.At(in.positions-1))
		in.done.Members = append(in.done.Members, m)
		touched, err := in.server.db.UserSubject(in.ctx, storage.User, m.User)
		if err != nil {
			return err
		}
		in.touch = append(in.touch, touched)
	}
	return nil
}
