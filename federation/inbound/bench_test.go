package inbound_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"

	"entente/federation/keys"
	"entente/internal/web"
	"entente/roomserver/event"
)

// BenchmarkReceive is what a message of a peer costs its receiver, with its
// share of the request's signature. Beside the time, which waits for the disk,
// it reports the processor's, in signatures.
func BenchmarkReceive(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprint(n, " in a transaction"), func(b *testing.B) { benchmarkReceive(b, n) })
	}
}

func benchmarkReceive(b *testing.B, each int) {
	m := meet(newWorld(b, sqlite(b)), "12", nil)
	router, err := web.New(web.Options{Peers: m.keys.Authenticate, MaxDepth: 600}, m.api.Routes()...)
	if err != nil {
		b.Fatal(err)
	}
	last := m.join.Ref()
	requests := make([]*http.Request, (b.N+each-1)/each)
	for i := range requests {
		var pdus []*event.PDU
		for range each {
			pdus = append(pdus, m.peer.message(m.agency, m.room, m.user, "hello", last))
			last = pdus[len(pdus)-1].Ref()
		}
		body, err := json.Marshal(map[string]any{"origin": m.peer.name, "origin_server_ts": 1, "pdus": raws(pdus...)})
		if err != nil {
			b.Fatal(err)
		}
		if body, err = event.Canonical(body); err != nil {
			b.Fatal(err)
		}
		uri := fmt.Sprint("/_matrix/federation/v1/send/", i)
		requests[i] = httptest.NewRequest(http.MethodPut, uri, bytes.NewReader(body))
		requests[i].Header.Set("Authorization", keys.SignRequest(m.peer.own.Signer(), http.MethodPut, uri, m.name, body))
	}
	b.ReportAllocs()
	before := processorTime(b)
	b.ResetTimer()
	for _, r := range requests {
		answer := httptest.NewRecorder()
		router.ServeHTTP(answer, r)
		if answer.Code != http.StatusOK {
			b.Fatalf("answered %d %s", answer.Code, answer.Body)
		}
	}
	spent := float64(processorTime(b)-before) / float64(len(requests)*each)
	b.ReportMetric(spent/signature(b), "signatures/op")
}

// signature is what one signature of 500 bytes costs, in nanoseconds.
func signature(b *testing.B) float64 {
	b.Helper()
	const n = 2000
	key, message := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)), make([]byte, 500)
	before := processorTime(b)
	for range n {
		ed25519.Sign(key, message)
	}
	return float64(processorTime(b)-before) / n
}

func processorTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}
