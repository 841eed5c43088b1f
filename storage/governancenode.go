package storage

import "context"

// Node is a process that serves this server name. As a Row it is a sign of
// life.
type Node struct {
	// ID is DB.Node.
	ID string
	// Host is the machine's name, for people.
	Host string
	// Policy is the policy version that the node decides by: it lets nothing
	// leave under an older one.
	Policy int64
	// Started and Seen are in milliseconds since 1970, by the node's clock.
	Started, Seen int64
}

const (
	upsertNode = `INSERT INTO node (node, host, policy, started, seen) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (node) DO UPDATE SET policy = excluded.policy, seen = excluded.seen`
	deleteNode     = `DELETE FROM node WHERE node = $1`
	deleteOldNodes = `DELETE FROM node WHERE seen < $1`
	selectServing  = `SELECT node, host, policy, started, seen FROM node ORDER BY started, node`
)

func (n *Node) write(w *writer) { w.exec(upsertNode, n.ID, n.Host, n.Policy, n.Started, n.Seen) }

// NoNode says that a node has stopped.
type NoNode struct{ ID string }

func (n *NoNode) write(w *writer) { w.exec(deleteNode, n.ID) }

// NoNodesSince forgets the nodes that showed no sign of life since a time in
// milliseconds.
type NoNodesSince struct{ Seen int64 }

func (n *NoNodesSince) write(w *writer) { w.exec(deleteOldNodes, n.Seen) }

// Nodes lists the processes that serve this server name, the oldest first.
// Those that ended without a word are among them until they are forgotten.
func (v *View) Nodes(ctx context.Context) ([]Node, error) {
	var out []Node
	err := each(ctx, v.q, selectServing, nil, func(r rowScanner) error {
		var n Node
		err := r.Scan(&n.ID, &n.Host, &n.Policy, &n.Started, &n.Seen)
		out = append(out, n)
		return err
	})
	return out, err
}
