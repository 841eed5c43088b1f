package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells what is being done, at most four times a second.
type progress struct {
	w io.Writer

	mu   sync.Mutex
	last time.Time // guarded by mu
}

func newProgress(w io.Writer) *progress { return &progress{w: w} }

func (p *progress) show(what string, done, total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); done >= total || now.Sub(p.last) >= 250*time.Millisecond {
		p.last = now
		fmt.Fprintf(p.w, "%s: %d of %d\n", what, done, total)
	}
}
