package roomserver

import (
	"context"
	"fmt"
	"slices"

	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// collectChunk is how many rows one commit removes.
const collectChunk = 500

// Collect removes the rows of a room's state map that nothing leads to: those
// of proposals that failed, and of states that peers claimed for events that
// were then refused. It answers how many it removed.
//
// It notes which rows there are, then raises the room's epoch: what was built
// before does not commit any more. Of the rows noted, those that no root leads
// to afterwards never will be led to.
func (s *Server) Collect(ctx context.Context, roomID id.RoomID) (removed int, err error) {
	err = s.with(ctx, roomID, func(r *room) error {
		ids, err := s.db.Latest().StateNodeIDs(ctx, r.info.NID)
		if err != nil {
			return err
		}
		if err := s.raiseEpoch(ctx, r); err != nil {
			return err
		}
		roots, err := s.db.Latest().StateRoots(ctx, r.info.NID)
		if err != nil {
			return err
		}
		marks, err := r.state.Mark(ctx, roots)
		if err != nil {
			return err
		}
		dead := slices.DeleteFunc(ids, marks.Has)
		for chunk := range slices.Chunk(dead, collectChunk) {
			if err := s.db.Stage(ctx, &storage.NoStateNodes{Room: r.info.NID, IDs: chunk}); err != nil {
				return fmt.Errorf("collect the state of %s: %w", roomID, err)
			}
			removed += len(chunk)
		}
		return nil
	})
	return removed, err
}

// raiseEpoch raises the room's gc epoch, while nobody builds on the room here.
func (s *Server) raiseEpoch(ctx context.Context, r *room) error {
	if err := r.hold(ctx); err != nil {
		return err
	}
	defer r.unhold()
	if err := r.loadHeld(ctx); err != nil {
		return err
	}
	epoch := r.head.Collection
	_, err := s.db.Commit(ctx, storage.Commit{
		Positions: 1, Expect: []storage.Precondition{storage.Collection(r.info.NID, epoch)},
		Write: []storage.Row{&storage.CollectionEpoch{Room: r.info.NID, Epoch: epoch + 1}},
		Touch: []storage.Subject{{Kind: storage.Room, ID: int64(r.info.NID)}},
	})
	r.resetHeld(r.generation)
	return err
}
