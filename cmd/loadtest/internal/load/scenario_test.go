package load

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"entente/cmd/loadtest/internal/load/fakeserver"
)

// lab starts the fakes and a small lab on the first of them.
func lab(t *testing.T, fakes ...*fakeserver.Server) *Lab {
	t.Helper()
	l := &Lab{Realism: Realism{State: 15, Members: 5, WarmUp: 50, OpenSyncs: true}, Settle: 300 * time.Millisecond}
	for i, fake := range fakes {
		server := httptest.NewServer(fake.Handler())
		t.Cleanup(server.Close)
		s, err := Connect(Target{Base: server.URL + "/", Secret: fake.Secret, PIDs: []int{os.Getpid()}, DataDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		if i == 0 {
			l.Server = s
		} else {
			l.Peer = s
		}
	}
	return l
}

func TestSendCountsWhatTheServerHas(t *testing.T) {
	tests := []struct {
		plan   SendPlan
		secret string
	}{
		{SendPlan{Name: "send-sequential", Clients: 1, Count: 20}, ""},
		{SendPlan{Name: "send-rooms", Clients: 4, Count: 101}, "s3cret"},
		{SendPlan{Name: "send-room", Clients: 7, OneRoom: true, Count: 100}, "s3cret"},
	}
	for _, tt := range tests {
		t.Run(tt.plan.Name, func(t *testing.T) {
			fake := &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a", Secret: tt.secret}
			l := lab(t, fake)
			r, err := l.Send(t.Context(), tt.plan)
			if err != nil {
				t.Fatal(err)
			}
			if got := fake.World.Messages(l.run); got != tt.plan.Count || r.Operations != got || r.Latency.Count != uint64(got) {
				t.Errorf("the server has %d messages, the result says %d with %d latencies, want %d", got, r.Operations, r.Latency.Count, tt.plan.Count)
			}
			if got := fake.World.Messages("warm-up"); got != l.Realism.WarmUp {
				t.Errorf("%d warm-up messages, want %d", got, l.Realism.WarmUp)
			}
			if r.Throughput <= 0 || len(r.Servers) != 1 || r.Servers[0].RSSAfter == 0 || r.Baseline.SignMicros <= 0 || r.Check() != nil {
				t.Errorf("the result is incomplete: %+v", r)
			}
		})
	}
}

func TestRoomsAreAsRealAsAskedFor(t *testing.T) {
	fake := &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a"}
	l := lab(t, fake)
	if err := l.prepare(); err != nil {
		t.Fatal(err)
	}
	senders, rooms, err := l.furnish(t.Context(), 3, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, room := range rooms {
		n, err := senders[i].StateCount(t.Context(), room)
		if err != nil || n != l.Realism.State {
			t.Errorf("%s has %d state events (%v), want %d", room, n, err, l.Realism.State)
		}
	}
}

func TestFanOutDeliversEverythingThroughGaps(t *testing.T) {
	// A timeline of two events makes nearly every sync a limited one.
	fake := &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a", Timeline: 2}
	r, err := lab(t, fake).FanOut(t.Context(), FanOutPlan{Members: 6, Rate: 2000, Count: 120})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(); err != nil {
		t.Error(err)
	}
	if r.Operations != 720 || r.Delivery.Delay.Count != 720 || r.Latency.Count != 120 {
		t.Errorf("%d operations, %d delays, %d sends", r.Operations, r.Delivery.Delay.Count, r.Latency.Count)
	}
}

func TestFanOutReportsALostMessage(t *testing.T) {
	fake := &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a", Lose: func(user string, content []byte) bool {
		return strings.HasSuffix(user, "-2:a") && strings.Contains(string(content), `"n":7}`)
	}}
	r, err := lab(t, fake).FanOut(t.Context(), FanOutPlan{Members: 3, Rate: 1000, Count: 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Check(); err == nil || r.Delivery.Delivered != 59 {
		t.Errorf("a lost message was not noticed: %v, %+v", err, r.Delivery)
	}
}

func TestSyncLatencyAndInitialSync(t *testing.T) {
	l := lab(t, &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a"})
	r, err := l.SyncLatency(t.Context(), 30)
	if err != nil || r.Check() != nil || r.Delivery.Delivered != 30 {
		t.Fatalf("sync-latency: %v, %+v", err, r)
	}
	if _, ok := r.Figures["median_beyond_fsync_ms"]; !ok {
		t.Error("the median beyond the fsync is missing")
	}
	r, err = l.InitialSync(t.Context(), 4, 3)
	if err != nil || r.Latency.Count != 3 || r.Figures["answer_bytes"] == 0 {
		t.Fatalf("initial-sync: %v, %+v", err, r)
	}
}

func TestFederationDeliversToThePeer(t *testing.T) {
	world := fakeserver.NewWorld()
	for _, rate := range []float64{0, 1000} {
		l := lab(t, &fakeserver.Server{World: world, Name: "a", Secret: "x"}, &fakeserver.Server{World: world, Name: "b", Timeline: 4})
		r, err := l.Federation(t.Context(), FederationPlan{Clients: 3, Receivers: 2, Count: 60, Rate: rate})
		if err != nil {
			t.Fatal(err)
		}
		if r.Check() != nil || r.Delivery.Delivered != 120 || len(r.Servers) != 2 {
			t.Errorf("rate %g: %+v", rate, r.Delivery)
		}
	}
}

func TestFederatedJoinBringsTheState(t *testing.T) {
	world := fakeserver.NewWorld()
	l := lab(t, &fakeserver.Server{World: world, Name: "a"}, &fakeserver.Server{World: world, Name: "b"})
	r, err := l.FederatedJoin(t.Context(), JoinPlan{State: 40, Count: 3})
	if err != nil || r.Latency.Count != 3 || r.Operations != 3 {
		t.Fatalf("federated-join: %v, %+v", err, r)
	}
	if _, err := lab(t, &fakeserver.Server{World: world, Name: "c"}).FederatedJoin(t.Context(), JoinPlan{State: 1, Count: 1}); !errors.Is(err, errNoPeer) {
		t.Errorf("without a peer: %v", err)
	}
}

func TestRateLimitsAreWaitedOutInPreparationAndEndAMeasurement(t *testing.T) {
	var requests atomic.Int64
	fake := &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a", Limit: func(r *http.Request) bool {
		return r.Method == http.MethodPost && requests.Add(1)%3 == 0
	}}
	if _, err := lab(t, fake).Send(t.Context(), SendPlan{Clients: 2, Count: 10}); err != nil {
		t.Errorf("rate limits during preparation: %v", err)
	}
	fake = &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a", Limit: func(r *http.Request) bool {
		return strings.Contains(r.URL.Path, "/send/") && !strings.Contains(r.URL.Path, "/w")
	}}
	_, err := lab(t, fake).Send(t.Context(), SendPlan{Clients: 2, Count: 10})
	var refusal *Refusal
	if !errors.As(err, &refusal) || refusal.Errcode != "M_LIMIT_EXCEEDED" || !strings.Contains(err.Error(), "rate limits off") {
		t.Errorf("a rate limit during the measurement: %v", err)
	}
}

func TestOnlyLoopbackIsATargetUnlessAllowed(t *testing.T) {
	tests := []struct {
		base    string
		refused bool
	}{
		{"http://192.0.2.1:8008", true},
		{"http://[2001:db8::1]:8008", true},
		{"http://127.0.0.1:1", false},
		{"http://[::1]:1", false},
	}
	for _, tt := range tests {
		s, err := Connect(Target{Base: tt.base})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Register(t.Context(), "x"); err == nil || errors.Is(err, errRemote) != tt.refused {
			t.Errorf("%s: %v, want a refusal: %v", tt.base, err, tt.refused)
		}
	}
	for _, base := range []string{"", "127.0.0.1:8008", "ftp://127.0.0.1", "http://"} {
		if _, err := Connect(Target{Base: base}); err == nil {
			t.Errorf("%q was taken for a base URL", base)
		}
	}
	if _, err := Connect(Target{Base: "https://127.0.0.1", CA: os.DevNull}); err == nil {
		t.Error("an empty CA file was taken")
	}
}

func TestAScenarioEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fake := &fakeserver.Server{World: fakeserver.NewWorld(), Name: "a", Limit: func(r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/5") {
			cancel()
		}
		return false
	}}
	if _, err := lab(t, fake).Send(ctx, SendPlan{Clients: 1, Count: 1_000_000}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
