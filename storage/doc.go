// Package storage is the one database layer, for SQLite and PostgreSQL.
//
// # One clock, one log, one way to commit
//
// Every change that a client or a peer must learn of takes a [Position] from
// one clock, inside the transaction that writes it and before anything else in
// it: commit order is position order. Gaps are allowed, reordering is not.
//
// A change is a value, a [Commit]: what must still hold ([Precondition]) and
// what to write ([Row]). One goroutine gathers the commits that queued up while
// the last group was being written, checks all their preconditions at once,
// drops the losers, writes the rest in one transaction and answers each caller
// after the fsync. Each group leaves one row in the log, which every node
// applies in order: see [DB.Follow].
//
// Reading goes through [View] alone, and a View cannot write.
//
// # One SQL text
//
// Statements are written once, in PostgreSQL's dialect with $1…$n and
// "= ANY($n)" for lists; dialect.go turns them into SQLite's. Identifiers of
// users, event types and servers are interned as numbers; the numbers do not
// leave this package, except a room's ([RoomNID]) and an event's (event.NID),
// which are handles.
package storage
