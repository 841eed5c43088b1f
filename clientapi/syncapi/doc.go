// Package syncapi tells clients what changed: /v3/sync and what it carries that
// nothing else keeps, typing, receipts and presence.
//
// # What is in memory
//
// The index holds, for the users who sync and the rooms they have joined, where
// each room stands, its latest events and changes of state, and who is to be
// woken. It follows the database's log: what this node wrote comes with the log
// entry, what another node wrote is read when someone asks. The index is never
// wrong about what changed, only sometimes too careful: it may say of a room
// that it might have changed. What it lacks is read from the database, which
// holds everything; so all of it may be forgotten at any time.
//
// # One answer
//
// An answer covers what happened after the position of since and not after the
// position that the index had reached. It is put together from parts that are
// shared by everyone who gets them: an event is written as JSON once.
//
// A wake-up carries no data. Who is woken asks again.
//
// # State
//
// The state that a client keeps is what `state` and then the state events of
// `timeline` make it, or `state_after` alone. Where the room's graph forks, a
// state event can enter the timeline without becoming the current state. Then
// the client has it wrong after this answer, which cannot be helped, since it
// applies the timeline last: next_batch carries what it is owed, and the next
// answer, which comes at once, puts it right.
//
// Spec: client-server-api/#syncing
package syncapi
