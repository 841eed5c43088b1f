// Package load drives a Matrix homeserver, any one, through its Client-Server
// API and measures what it costs: throughput and latency as clients see them,
// CPU time and memory as the kernel counts them, and the growth of its data
// on disk, beside the cost of a signature and of an fsync on the same machine
// at the same time.
//
// A Server is a homeserver, a Client a user of it. A Lab prepares rooms that
// are real (state, members, history, an open sync for every client) and
// measures a scenario; each scenario_*.go holds one family of them. Nothing
// here knows how any server works inside.
package load
