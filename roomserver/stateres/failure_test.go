package stateres_test

import (
	"context"
	"errors"
	"testing"

	"entente/internal/fault"
	"entente/roomserver/event"
	"entente/roomserver/stateres"
)

var errBroken = errors.New("broken")

// broken is a source whose call number n fails.
type broken struct {
	*forks
	left int
}

func (b *broken) fails() error {
	if b.left--; b.left < 0 {
		return errBroken
	}
	return nil
}

func (b *broken) Events(ctx context.Context, nids []event.NID) ([]stateres.Event, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.forks.Events(ctx, nids)
}

func (b *broken) Unconflicted(ctx context.Context, keys []event.Key) ([]stateres.Entry, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.forks.Unconflicted(ctx, keys)
}

func (b *broken) Links(ctx context.Context, ask []stateres.Out) ([]stateres.Link, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.forks.Links(ctx, ask)
}

func (b *broken) Citers(ctx context.Context, ask []stateres.Into) ([][]stateres.Link, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.forks.Citers(ctx, ask)
}

func (b *broken) Span(ctx context.Context, ask []stateres.Span) ([]stateres.Entry, error) {
	if err := b.fails(); err != nil {
		return nil, err
	}
	return b.forks.Span(ctx, ask)
}

// TestAFailedReadFailsTheResolution fails each read of a resolution in turn.
func TestAFailedReadFailsTheResolution(t *testing.T) {
	for _, v := range []event.Version{"1", "11", "12"} {
		f := partition(community(t, v, 400), 400)
		conflicts := f.conflicts()
		for n := 0; ; n++ {
			_, err := stateres.Resolve(context.Background(), f.rules, conflicts, &broken{forks: f, left: n})
			if err == nil {
				if n < 3 {
					t.Errorf("version %s: only %d reads", v, n)
				}
				break
			}
			if !errors.Is(err, errBroken) {
				t.Fatalf("version %s, read %d: %v", v, n, err)
			}
		}
	}
}

// misleading is a source that answers something else than it was asked.
type misleading struct {
	*forks
	change func([]stateres.Event) []stateres.Event
}

func (m *misleading) Events(ctx context.Context, nids []event.NID) ([]stateres.Event, error) {
	events, err := m.forks.Events(ctx, nids)
	return m.change(events), err
}

func TestAWrongAnswerIsAnError(t *testing.T) {
	tests := []struct {
		name   string
		change func([]stateres.Event) []stateres.Event
	}{
		{"an event too few", func(e []stateres.Event) []stateres.Event { return e[1:] }},
		{"another event", func(e []stateres.Event) []stateres.Event { e[0].NID++; return e }},
		{"events that were never placed", func(e []stateres.Event) []stateres.Event {
			for i := range e {
				e[i].Pos = stateres.Pos{}
			}
			return e
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := partition(community(t, "12", 400), 400)
			_, err := stateres.Resolve(context.Background(), f.rules, f.conflicts(), &misleading{f, tt.change})
			if !fault.Is(err, fault.Internal) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestConflictsOfUnequalForks(t *testing.T) {
	rules, _ := event.RulesOf("12")
	f := newRoom(t, "12").forks()
	_, err := stateres.Resolve(context.Background(), rules, []stateres.Conflict{
		{Key: event.Key{Type: "m.room.topic"}, NIDs: []event.NID{1, 2}},
		{Key: event.Key{Type: "m.room.name"}, NIDs: []event.NID{1, 2, 3}},
	}, f)
	if !fault.Is(err, fault.Internal) {
		t.Errorf("error %v", err)
	}
	if changes, err := stateres.Resolve(context.Background(), rules, nil, f); err != nil || len(changes) != 0 {
		t.Errorf("no conflicts: %v, %v", changes, err)
	}
}

// TestManyForks resolves more forks than fit a machine word.
func TestManyForks(t *testing.T) {
	g := community(t, "12", 300)
	var states []state
	for i := range 70 {
		states = append(states, g.fork(func(b *grown) {
			b.put(draft{typ: "m.room.topic", sender: user(i), content: map[string]any{"topic": i}})
			b.put(member(user(i+100), user(i+100), "leave"))
		}))
	}
	f := g.forks(states...)
	got := f.resolve()
	for i := range 70 {
		if nid := got[event.Key{Type: "m.room.member", StateKey: user(i + 100)}]; f.events[nid].PDU.Membership() != "leave" {
			t.Errorf("%s is still there", user(i+100))
		}
	}
	if topic := got[event.Key{Type: "m.room.topic"}]; f.events[topic].PDU.Sender() != "@user69:b.example" {
		t.Errorf("the topic is %s", f.show(topic))
	}
}
