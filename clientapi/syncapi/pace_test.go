package syncapi

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	var p pace
	for range paceAnswers - 1 {
		p.turn(at(0))
		p.answers++
	}
	if got := p.rest(at(0), at(1)); got > 0 {
		t.Errorf("a server that is not busy lets a reader wait for %v", got)
	}
	p.answers++
	if got := p.rest(at(0), at(1)); got != paceTime-time.Millisecond {
		t.Errorf("a reader answered a millisecond ago waits for %v", got)
	}
	if got := p.rest(at(-20), at(1)); got > 0 {
		t.Errorf("a reader answered long ago waits for %v", got)
	}
	if got := p.rest(at(11), at(12)); got != paceTime-time.Millisecond {
		t.Errorf("in the time after a busy one a reader waits for %v", got)
	}
	if got := p.rest(at(39), at(40)); got > 0 {
		t.Errorf("long after a busy time a reader waits for %v", got)
	}
}
