package storage_test

import (
	"errors"
	"reflect"
	"testing"

	"entente/storage"
	"entente/storage/storagetest"
)

func TestAgreementRows(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		a := storage.Agreement{Peer: "b.example", ValidFrom: 1, ValidUntil: 2, Terms: []byte(`{}`), Created: 3, Changed: 4, ChangedBy: "os:kim"}
		other := storage.Agreement{Peer: "a.example", Terms: []byte(`{"note":"x"}`), Created: 5, Changed: 5}
		write := func(rows ...storage.Row) {
			t.Helper()
			c := storage.Commit{Positions: 1, Write: append(rows, &storage.PolicyBump{}), Touch: []storage.Subject{{Kind: storage.Policy}}}
			if _, err := db.Commit(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		}
		expect := func(want ...storage.Agreement) {
			t.Helper()
			if got, err := db.Latest().Agreements(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("agreements are %+v, error %v, want %+v", got, err, want)
			}
		}
		write(&a, &other)
		expect(other, a)
		changed := a
		changed.Suspended, changed.Created, changed.Changed = true, 9, 9
		write(&changed)
		changed.Created = 3 // when it was made does not change
		expect(other, changed)
		write(&storage.NoAgreement{Peer: "a.example"})
		expect(changed)
	})
}

func TestNodes(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		young := storage.Node{ID: "a", Host: "h", Policy: 1, Started: 20, Seen: 20}
		old := storage.Node{ID: "b", Host: "h", Policy: 1, Started: 10, Seen: 10}
		expect := func(write []storage.Row, want ...storage.Node) {
			t.Helper()
			if err := db.Stage(t.Context(), write...); err != nil {
				t.Fatal(err)
			}
			if got, err := db.Latest().Nodes(t.Context()); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("nodes are %+v, error %v, want %+v", got, err, want)
			}
		}
		expect([]storage.Row{&young, &old}, old, young)
		beat := young
		beat.Policy, beat.Started, beat.Seen = 2, 99, 30
		seen := beat
		seen.Started = 20 // a node starts once
		expect([]storage.Row{&beat}, old, seen)
		expect([]storage.Row{&storage.NoNodesSince{Seen: 11}}, seen)
		expect([]storage.Row{&storage.NoNode{ID: "a"}})
	})
}

// A cursor never goes back: a node that lost its turn does not undo what
// another delivered.
func TestAuditCursors(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db := storagetest.Open(t, o)
		for _, c := range []storage.AuditCursor{{Sink: "b", Seq: 5}, {Sink: "a", Seq: 1}, {Sink: "b", Seq: 3}, {Sink: "a", Seq: 2}} {
			if err := db.Stage(t.Context(), &c); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := db.Latest().AuditCursors(t.Context()); err != nil || !reflect.DeepEqual(got, []storage.AuditCursor{{Sink: "a", Seq: 2}, {Sink: "b", Seq: 5}}) {
			t.Errorf("cursors are %v, error %v", got, err)
		}
	})
}

func TestAuditIsFoundByTime(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, o storage.Options) {
		db, ctx := storagetest.Open(t, o), t.Context()
		if seq, hash, err := db.Latest().AuditTail(ctx); err != nil || seq != 0 || hash != nil {
			t.Errorf("the tail of nothing is %d %x, error %v", seq, hash, err)
		}
		var records []storage.AuditRecord
		for at := range int64(5) {
			records = append(records, storage.AuditRecord{At: 10 * at, Body: []byte(`{}`)})
		}
		if _, err := db.Commit(ctx, storage.Commit{Audit: records}); err != nil {
			t.Fatal(err)
		}
		for at, want := range map[int64]int64{0: 1, 10: 2, 11: 3, 40: 5, 41: 0} {
			if seq, err := db.Latest().AuditSince(ctx, at); err != nil || seq != want {
				t.Errorf("since %d the first is %d, error %v, want %d", at, seq, err, want)
			}
		}
		seq, hash, err := db.Latest().AuditTail(ctx)
		all, e := db.Latest().Audit(ctx, 4, 10)
		if errors.Join(err, e) != nil || seq != 5 || len(all) != 1 || string(hash) != string(all[0].Hash) {
			t.Errorf("the tail is %d %x, error %v", seq, hash, err)
		}
	})
}
