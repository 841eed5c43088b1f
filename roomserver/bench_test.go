package roomserver_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"sync/atomic"
	"testing"

	"entente/roomserver"
	"entente/storage"
	"entente/storage/storagetest"

	"maunium.net/go/mautrix/id"
)

// BenchmarkSend sends messages from 16 clients, in a room each or in one room,
// until they are durable. ns/op is of all clients together; a signature is
// measured beside it.
func BenchmarkSend(b *testing.B) {
	for name, o := range map[string]func(testing.TB) storage.Options{"sqlite": storagetest.SQLite, "postgres": storagetest.Postgres} {
		for _, rooms := range []int{1, 16} {
			b.Run(fmt.Sprintf("%s/rooms=%d", name, rooms), func(b *testing.B) { benchmarkSend(b, o(b), rooms) })
		}
	}
	b.Run("signature", func(b *testing.B) {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			b.Fatal(err)
		}
		message := make([]byte, 500)
		for b.Loop() {
			ed25519.Sign(key, message)
		}
	})
}

func benchmarkSend(b *testing.B, o storage.Options, rooms int) {
	s, _ := newServer(b, o)
	ids := make([]id.RoomID, rooms)
	for i := range ids {
		var err error
		if ids[i], err = s.Create(context.Background(), roomserver.CreateRequest{Creator: "@alice:test"}); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	b.SetParallelism(8) // times GOMAXPROCS
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		room := ids[int(next.Add(1))%rooms]
		for pb.Next() {
			if _, err := s.Send(context.Background(), message(room, "@alice:test", "hello")); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
