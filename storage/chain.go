package storage

import (
	"context"

	"entente/roomserver/state"
	"entente/roomserver/stateres"
)

// ChainLink is a link of a room's chain-cover index. As a Row, one that is
// there already is ignored.
type ChainLink struct {
	Room RoomNID
	From stateres.Pos // of an event without a chain: zero
	Num  state.KeyNum // the citing event's state key
	To   stateres.Pos
}

const (
	insertLink = `INSERT INTO chain_link (room, to_chain, to_seq, from_chain, from_seq, num) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (room, to_chain, to_seq, from_chain, num) DO NOTHING`
	selectTip  = `SELECT COALESCE(MAX(chain_seq), 0) FROM event WHERE room = $1 AND chain = $2 AND chain <> 0`
	selectInto = `SELECT to_seq, from_chain, from_seq, num FROM chain_link
		WHERE room = $1 AND to_chain = $2 AND to_seq >= $3 AND to_seq < $4 AND (to_seq, from_chain, from_seq, num) > ($5, $6, $7, $8)
		ORDER BY to_seq, from_chain, from_seq, num LIMIT $9`
	selectOut = `SELECT from_seq, num, to_chain, to_seq FROM chain_link
		WHERE room = $1 AND from_chain = $2 AND from_chain <> 0 AND from_seq > $3 AND from_seq <= $4 AND to_seq >= $5`
	selectSpan = `SELECT nid, chain_seq FROM event
		WHERE room = $1 AND chain = $2 AND chain <> 0 AND chain_seq > $3 AND chain_seq <= $4 ORDER BY chain_seq DESC LIMIT $5`
	selectSpanUp = `SELECT nid, chain_seq FROM event
		WHERE room = $1 AND chain = $2 AND chain <> 0 AND chain_seq > $3 AND chain_seq <= $4 ORDER BY chain_seq LIMIT $5`
)

func (l *ChainLink) write(w *writer) {
	w.exec(insertLink, int64(l.Room), int64(l.To.Chain), l.To.Seq, int64(l.From.Chain), l.From.Seq, int64(l.Num))
}

// ChainTip is the rank of the last event of a chain.
func (v *View) ChainTip(ctx context.Context, room RoomNID, chain stateres.Chain) (seq int64, err error) {
	_, err = one(ctx, v.q, selectTip, []any{int64(room), int64(chain)}, &seq)
	return seq, err
}

// ChainInto answers one question of stateres.Source.Citers, after a link of
// the answer before; nil for the first.
func (v *View) ChainInto(ctx context.Context, room RoomNID, ask stateres.Into, after *ChainLink) (out []ChainLink, err error) {
	last := ChainLink{From: stateres.Pos{Chain: -1}}
	if after != nil {
		last = *after
	}
	args := []any{int64(room), int64(ask.Chain), ask.Low, ask.Below, last.To.Seq, int64(last.From.Chain), last.From.Seq, int64(last.Num), ask.Limit}
	err = each(ctx, v.q, selectInto, args, func(r rowScanner) error {
		l := ChainLink{Room: room, To: stateres.Pos{Chain: ask.Chain}}
		err := r.Scan(&l.To.Seq, (*int64)(&l.From.Chain), &l.From.Seq, (*uint32)(&l.Num))
		out = append(out, l)
		return err
	})
	return out, err
}

// ChainOut answers one question of stateres.Index.Links.
func (v *View) ChainOut(ctx context.Context, room RoomNID, ask stateres.Out) (out []ChainLink, err error) {
	args := []any{int64(room), int64(ask.Chain), ask.Low, ask.High, ask.Floor}
	err = each(ctx, v.q, selectOut, args, func(r rowScanner) error {
		l := ChainLink{Room: room, From: stateres.Pos{Chain: ask.Chain}}
		err := r.Scan(&l.From.Seq, (*uint32)(&l.Num), (*int64)(&l.To.Chain), &l.To.Seq)
		out = append(out, l)
		return err
	})
	return out, err
}

// ChainSpan answers one question of stateres.Index.Span.
func (v *View) ChainSpan(ctx context.Context, room RoomNID, ask stateres.Span) (out []stateres.Entry, err error) {
	limit := ask.Limit
	if limit == 0 {
		limit = 1 << 30
	}
	args := []any{int64(room), int64(ask.Chain), ask.Low, ask.High, limit}
	sql := selectSpan
	if ask.Ascending {
		sql = selectSpanUp
	}
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		e := stateres.Entry{Pos: stateres.Pos{Chain: ask.Chain}}
		err := r.Scan((*int64)(&e.NID), &e.Pos.Seq)
		out = append(out, e)
		return err
	})
	return out, err
}
