package sender_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"entente/federation/client"
	"entente/federation/sender"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// BenchmarkFanOut is what an event for a thousand servers costs, without the
// requests themselves.
func BenchmarkFanOut(b *testing.B) {
	const peers = 1000
	var to []string
	for i := range peers {
		to = append(to, fmt.Sprintf("server%d.example", i))
	}
	slices.Sort(to)
	db := storagetest.Open(b, storagetest.SQLite(b))
	var got sync.WaitGroup
	s := sender.New(sender.Options{DB: db, Send: func(_ context.Context, _ string, t client.Transaction) (map[id.EventID]string, error) {
		got.Add(-len(t.PDUs))
		return nil, nil
	}})
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r := newRoom(b, db)
	b.ResetTimer()
	for i := range b.N {
		got.Add(peers)
		r.send(fmt.Sprint(i), to...)
		got.Wait()
	}
	b.StopTimer()
	cancel()
	if err := <-ended; err != nil {
		b.Error(err)
	}
}
