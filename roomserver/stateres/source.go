// Package stateres settles the state of a room where its history forks: state
// resolution v1, v2 and v2.1, and the chain cover, the index over auth events
// that keeps the work proportional to what the forks differ in. It is pure:
// everything is read through a Source.
//
// Spec: rooms/v1/#state-resolution, rooms/v2/#state-resolution,
// rooms/v12/#state-resolution
package stateres

import (
	"context"
	"math"

	"entente/roomserver/event"
)

const (
	typeCreate           = "m.room.create"
	typeMember           = "m.room.member"
	typePowerLevels      = "m.room.power_levels"
	typeJoinRules        = "m.room.join_rules"
	typeThirdPartyInvite = "m.room.third_party_invite"

	// endless is above every Seq.
	endless = math.MaxInt64
)

// Event is a state event as state resolution reads it.
type Event struct {
	NID event.NID
	PDU *event.PDU
	// Pos is its place in the chain cover.
	Pos Pos
	// Auth are its auth events, as the event lists them.
	Auth []event.NID
	// Rejected: its auth events do not allow it, or the state before it does not.
	Rejected bool
}

// Entry is what a state holds at a key: an event and its place, or zero.
type Entry struct {
	NID event.NID
	Pos Pos
}

// Into asks for links into a chain: those whose To.Seq is at least Low and
// below Below, lowest To.Seq first, and in any fixed order among equals; from
// after the link After if it is not nil, at most Limit of them.
type Into struct {
	Chain      Chain
	Low, Below int64
	After      *Link
	Limit      int
}

// Out asks for links out of a chain: those whose From.Seq is above Low and at
// most High, and whose To.Seq is at least Floor.
type Out struct {
	Chain     Chain
	Low, High int64
	Floor     int64
}

// Span is a part of a chain: the events whose Seq is above Low and at most
// High, highest first unless Ascending, at most Limit of them unless it is
// zero.
type Span struct {
	Chain     Chain
	Low, High int64
	Ascending bool
	Limit     int
}

// Index reads a room's chain cover. Each call answers a batch: the rows of
// all its questions together, in any order unless there is one question.
type Index interface {
	// Links reads links by the chain they leave.
	Links(ctx context.Context, ask []Out) ([]Link, error)
	// Span reads the events of parts of chains.
	Span(ctx context.Context, ask []Span) ([]Entry, error)
}

// Source is what Resolve reads of one room, for one set of forks. Events and
// Unconflicted answer in the order asked.
type Source interface {
	Index
	// Citers reads links by the chain they enter, and answers each question
	// by itself: fewer links than the Limit are the last. Links from chains
	// above the Ceiling of any fork's state may be left out, so that what came
	// later is not read.
	Citers(ctx context.Context, ask []Into) ([][]Link, error)
	// Events reads events. One that is missing is an error.
	Events(ctx context.Context, nids []event.NID) ([]Event, error)
	// Unconflicted reads the state that all forks share: the event that every
	// fork has at a key, and zero where they differ or have none.
	Unconflicted(ctx context.Context, keys []event.Key) ([]Entry, error)
}

// Conflict is a state key at which the forks differ.
type Conflict struct {
	Key event.Key
	// NIDs holds each fork's event at Key, zero for none. The forks are in the
	// same order in every conflict.
	NIDs []event.NID
}

// Change is one entry to set; NID zero removes the key.
type Change struct {
	Key event.Key
	NID event.NID
}
