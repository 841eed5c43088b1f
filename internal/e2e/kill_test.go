package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"maunium.net/go/mautrix/id"
)

// A server that is killed under load comes back with everything that it
// acknowledged, and its peer gets all of it too.
func TestKilledUnderLoad(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, north, south *agency) {
		alice, bob := login(t, north, north.Client, "alice"), login(t, south, south.Client, "bob")
		room := shareRoom(t, alice, bob)

		for round := range 2 {
			acknowledged := sendUntilKilled(t, north, alice, room, round)
			north.start()
			for _, event := range acknowledged {
				if _, err := alice.GetEvent(t.Context(), room, event); err != nil {
					t.Errorf("%s was acknowledged and is gone: %v", event, err)
				}
			}
			checkContains(t, alice, room, acknowledged)
			eventually(t, "Bob has everything", func(ctx context.Context) error {
				for _, event := range acknowledged {
					if _, err := bob.GetEvent(ctx, room, event); err != nil {
						return err
					}
				}
				return nil
			})
		}
		// The room goes on.
		last := bob.say(room, "still here")
		eventually(t, "Alice has Bob's message", func(ctx context.Context) error {
			_, err := alice.GetEvent(ctx, room, last)
			return err
		})
	})
}

// sendUntilKilled sends from several goroutines at once, kills the server once
// enough is acknowledged, and returns what was.
func sendUntilKilled(t *testing.T, at *agency, p *person, room id.RoomID, round int) []id.EventID {
	t.Helper()
	const senders, enough = 8, 150
	var (
		mu           sync.Mutex
		acknowledged []id.EventID
		running      sync.WaitGroup
	)
	full := make(chan struct{})
	for s := range senders {
		running.Go(func() {
			for i := 0; ; i++ {
				sent, err := p.SendText(t.Context(), room, fmt.Sprintf("round %d, sender %d, message %d", round, s, i))
				if err != nil {
					return // the server is gone
				}
				mu.Lock()
				acknowledged = append(acknowledged, sent.EventID)
				if len(acknowledged) == enough {
					close(full)
				}
				mu.Unlock()
			}
		})
	}
	done := make(chan struct{})
	go func() {
		running.Wait()
		close(done)
	}()
	select {
	case <-full:
	case <-done:
		t.Fatalf("sending failed after %d messages", len(acknowledged))
	}
	at.kill()
	<-done
	return acknowledged
}

// checkContains pages through the room and wants every event in it.
func checkContains(t *testing.T, p *person, room id.RoomID, want []id.EventID) {
	t.Helper()
	have := make(map[id.EventID]bool)
	for _, e := range p.history(room, 100) {
		have[e.ID] = true
	}
	for _, event := range want {
		if !have[event] {
			t.Errorf("%s was acknowledged and is not in the room's history", event)
		}
	}
}
