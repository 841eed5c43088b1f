package syncapi

import (
	"context"
	"time"
)

// A busy server answers a client that was answered a moment ago a moment
// later, so that an answer carries several events: an answer costs several
// times what an event in it does. A server that is not busy never waits.
const (
	// paceTime is between two answers to one reader, and what busy is measured
	// over.
	paceTime = 10 * time.Millisecond
	// paceAnswers is how many readers answered in that time make a server busy.
	paceAnswers = 8
)

// pace counts the readers that are answered.
type pace struct {
	start           time.Time // of the current count
	answers, before int       // in this paceTime, and in the one before
}

// turn starts a new count when the current one's time is over.
func (p *pace) turn(now time.Time) {
	switch since := now.Sub(p.start); {
	case since < paceTime:
		return
	case since < 2*paceTime:
		p.before = p.answers
	default:
		p.before = 0
	}
	p.start, p.answers = now, 0
}

// rest is how long an answer to a reader should wait.
func (p *pace) rest(answered, now time.Time) time.Duration {
	p.turn(now)
	if max(p.answers, p.before) < paceAnswers {
		return 0
	}
	return paceTime - now.Sub(answered)
}

// pause keeps a reader's answer waiting while the server is busy and the reader
// was answered a moment ago.
func (s *Server) pause(ctx context.Context, r *reader) error {
	s.mu.Lock()
	rest := s.pace.rest(r.answered, s.now())
	s.mu.Unlock()
	if rest <= 0 {
		return nil
	}
	t := time.NewTimer(rest)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closing:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// answeredLocked notes that a reader is answered. A reader counts once in a
// time: one that asks again and again does not make a server busy.
func (s *Server) answeredLocked(r *reader) {
	now := s.now()
	s.pace.turn(now)
	if r.answered.Before(s.pace.start) {
		s.pace.answers++
	}
	r.answered = now
}
