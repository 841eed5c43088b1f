package cluster_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"entente/cluster"
	"entente/storage"
	"entente/storage/storagetest"
)

// What one node commits, another applies without being asked to look.
func TestWakeUp(t *testing.T) {
	nats, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	nats.Start()
	t.Cleanup(nats.Shutdown)
	if !nats.ReadyForConnections(10 * time.Second) {
		t.Fatal("NATS does not start")
	}
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		a, b := storagetest.Open(t, o), storagetest.Open(t, o)
		for _, db := range []*storage.DB{a, b} {
			c, err := cluster.Join(nats.ClientURL(), "a.example:8448", db, storagetest.Logger(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
		}
		heard := make(chan storage.Position, 10)
		b.Follow(func(e *storage.LogEntry) { heard <- e.Last })
		pos, err := a.Commit(t.Context(), storage.Commit{Positions: 1})
		if err != nil {
			t.Fatal(err)
		}
		if got := <-heard; got != pos {
			t.Errorf("b heard of position %d, a committed %d", got, pos)
		}
	})
}

// A NATS that cannot be reached does not keep a node from starting.
func TestNATSAway(t *testing.T) {
	db := storagetest.Open(t, storagetest.SQLite(t))
	c, err := cluster.Join("nats://127.0.0.1:1", "a", db, storagetest.Logger(t))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := db.Commit(t.Context(), storage.Commit{Positions: 1}); err != nil {
		t.Error(err)
	}
}
