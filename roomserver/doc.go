// Package roomserver keeps rooms: the event graph, who may do what in it, the
// state and the members.
//
// # How a room moves
//
// A room has a head: its forward extremities and its current state. Every
// change of the room is a proposal, built on the head while the room is held:
// events, and what they change in the state and in the tables that are
// projections of it. The proposal becomes one commit that expects the head it
// was built on. While that commit is under way the room already stands, for
// the next proposal, where the commit will put it: several events ride in one
// group commit, chained. Nothing speculative is read by anyone else, and when a
// link fails, what followed it is built again.
//
// Every node of a server does this for every room; the compare-and-set on the
// head's version is what keeps them from contradicting each other.
//
// # State
//
// A state is a root of the room's persistent map (package state). An event
// knows the root before and after it. Where the graph forks, package stateres
// settles what the state is.
package roomserver
