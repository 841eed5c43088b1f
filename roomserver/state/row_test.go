package state_test

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"entente/roomserver/event"
	"entente/roomserver/state"
)

// hash is sixteen bytes of any set hash.
const hash = "00112233445566778899aabbccddeeff"

// Each of these was made from a sound row by breaking one rule of the format.
func TestBrokenRowsAreCorrupt(t *testing.T) {
	tests := []struct {
		name, data string
	}{
		{"no bytes", ""},
		{"an unknown format", "12" + hash + "01" + "0003"},
		{"an unknown flag", "51" + hash + "01" + "0003"},
		{"half a hash", "11" + hash[:16]},
		{"no count", "11" + hash},
		{"no keys", "11" + hash + "00" + "0003"},
		{"more keys than there can be", "11" + hash + "8080808010" + "0003"},
		{"half a number", "11" + hash + "01" + "0083"},
		{"a number in a longer form than needed", "11" + hash + "01" + "008300"},
		{"a number of eleven bytes", "11" + hash + "01" + "00" + strings.Repeat("ff", 10) + "01"},
		{"no nodes", "11" + hash + "01"},
		{"no base", "31" + hash + "01"},
		{"a base beyond all numbers", "31" + hash + "01" + strings.Repeat("ff", 9) + "01" + "0003"},
		{"an event of zero", "11" + hash + "01" + "0001"},
		{"a negative event", "11" + hash + "01" + "0002"},
		{"an empty last slot", "11" + hash + "01" + "010300"},
		{"fewer slots than it says", "11" + hash + "01" + "0203"},
		{"two leaves and no root", "11" + hash + "02" + "0003" + "0005"},
		{"a level below the last", "11" + hash + "01" + "0003" + "1001" + "0003"},
		{"a level too high", "11" + hash + "01" + "8005"},
		{"a local child that is not there", "11" + hash + "01" + "1001"},
		{"more local children than leaves", "11" + hash + "01" + "0003" + "110101"},
		{"a local child of a level that is missing", "11" + hash + "01" + "0003" + "2001"},
		{"a run of nothing", "11" + hash + "01" + "1002"},
		{"a child before the first row", "11" + hash + "01" + "10ff01"},
		{"a child in its own row by number", "31" + hash + "01" + "00" + "1003"},
		{"a child without an index", "11" + hash + "01" + "1004"},
		{"an index too large", "11" + hash + "01" + "1004" + "808004"},
		{"an empty inner slot at the end", "11" + hash + "01" + "110300"},
		{"too many bytes", "01" + strings.Repeat("0003", 40_000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(tt.data)
			if err != nil {
				t.Fatal(err)
			}
			d := newDisk()
			d.last = 10
			d.store([]state.Row{{ID: 9, Data: data}})
			for how, err := range everyRead(t.Context(), d, 9) {
				if !errors.Is(err, state.ErrCorrupt) {
					t.Errorf("%s: %v", how, err)
				}
			}
		})
	}
}

// A row can be sound by itself and still lead to a node that is not what its
// place in the tree asks for.
func TestWrongNodesElsewhereAreCorrupt(t *testing.T) {
	tests := []struct {
		name, top, below string
	}{
		{"a node beyond the end", "11" + hash + "01" + "10" + "0405", "01" + "0003"},
		{"a node of the wrong level", "11" + hash + "01" + "20" + "03", "01" + "0003" + "0003"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDisk()
			for id, data := range map[int64]string{9: tt.top, 8: tt.below} {
				b, err := hex.DecodeString(data)
				if err != nil {
					t.Fatal(err)
				}
				d.rows[id] = b
			}
			r := d.room(0)
			if _, err := r.Get(t.Context(), 9, 0); !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("Get: %v", err)
			}
			if _, err := r.GetMany(t.Context(), 9, []state.KeyNum{0}); !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("GetMany: %v", err)
			}
			if _, _, err := r.Set(t.Context(), 9, []state.Entry{{Key: 0, NID: 1}}, d.alloc); !errors.Is(err, state.ErrCorrupt) {
				t.Errorf("Set: %v", err)
			}
			for _, err := range r.All(t.Context(), 9) {
				if !errors.Is(err, state.ErrCorrupt) {
					t.Errorf("All: %v", err)
				}
			}
		})
	}
}

// FuzzRows reads what anyone may have written into the database: every answer
// is an error or a state, and a state can be changed.
func FuzzRows(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 1))
	d := newDisk()
	root := state.Root(0)
	last := []byte(nil)
	for range 40 {
		var changes []state.Entry
		for range 1 + rng.IntN(200) {
			changes = append(changes, state.Entry{Key: state.KeyNum(rng.Uint32N(3000)), NID: event.NID(rng.Int64N(1 << 40))})
		}
		root = d.set(f, d.room(0), root, changes...)
		f.Add(d.rows[int64(root)], last, uint32(rng.Uint32N(3000)))
		last = d.rows[int64(root)]
	}
	f.Fuzz(func(t *testing.T, top, below []byte, key uint32) {
		d := newDisk()
		d.last = 100
		d.rows[9], d.rows[8] = top, below
		r := d.room(0)
		nid, getErr := r.Get(t.Context(), 9, state.KeyNum(key))
		found, n := event.NID(0), 0
		var allErr error
		for e, err := range r.All(t.Context(), 9) {
			if n++; n > 5000 {
				return // a node may be its own neighbour many times over
			}
			if allErr = err; err == nil && e.Key == state.KeyNum(key) {
				found = e.NID
			}
		}
		if allErr == nil && (getErr != nil || nid != found) {
			t.Fatalf("Get gives %d, %v where All gives %d", nid, getErr, found)
		}
		_, markErr := r.Mark(t.Context(), []state.Root{9})
		if allErr == nil && markErr != nil {
			t.Fatalf("All reads what Mark does not: %v", markErr)
		}
		next, rows, err := r.Set(t.Context(), 9, []state.Entry{{Key: state.KeyNum(key), NID: 12345}}, d.alloc)
		if err != nil {
			if allErr == nil && !errors.Is(err, state.ErrCorrupt) {
				t.Fatalf("Set: %v", err)
			}
			return
		}
		d.store(rows)
		if nid, err := d.room(0).Get(t.Context(), next, state.KeyNum(key)); err != nil || nid != 12345 {
			t.Fatalf("Get after Set gives %d, %v", nid, err)
		}
	})
}
