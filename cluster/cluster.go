// Package cluster carries wake-ups between the nodes of one server. They hurry
// what the nodes would find out by themselves: a node that hears that another
// has written looks at the log at once instead of at its next poll. Losing one
// costs a quarter of a second and nothing else.
package cluster

import (
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go"

	"entente/storage"
)

// Cluster is this node's place among the nodes of its server.
type Cluster struct {
	conn *nats.Conn
}

// Join connects to NATS, tells the other nodes of the server when this one
// commits, and hurries db's log when they do. A NATS that is away, now or
// later, is tried again for as long as it takes; the nodes poll meanwhile.
func Join(url, serverName string, db *storage.DB, log *slog.Logger) (*Cluster, error) {
	conn, err := nats.Connect(url,
		nats.Name("entente "+serverName+" "+db.Node()), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.NoEcho(),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { log.Warn("NATS is away; nodes poll meanwhile", "error", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { log.Info("NATS is back") }),
	)
	if err != nil {
		return nil, fmt.Errorf("cluster.nats: %w", err)
	}
	subject := "entente.log." + token(serverName)
	if _, err := conn.Subscribe(subject, func(*nats.Msg) { db.Hurry() }); err != nil {
		conn.Close()
		return nil, fmt.Errorf("cluster.nats: %w", err)
	}
	db.Follow(func(e *storage.LogEntry) {
		if e.Own {
			// A wake-up that is not sent is one that the poll stands in for.
			_ = conn.Publish(subject, nil)
		}
	})
	return &Cluster{conn}, nil
}

// token is a server name as one token of a subject, where dots part tokens.
func token(name string) string {
	out := []byte(name)
	for i, b := range out {
		if b == '.' || b == ':' {
			out[i] = '_'
		}
	}
	return string(out)
}

// Close leaves the cluster.
func (c *Cluster) Close() { c.conn.Close() }
