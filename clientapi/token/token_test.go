package token

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"entente/internal/fault"
	"entente/roomserver"
)

func TestTokensReadBack(t *testing.T) {
	for _, s := range []Sync{
		{},
		{Epoch: 1, Pos: 1 << 40, Boot: "a-_Z09", Ephemeral: 77},
		{Epoch: 3, Pos: 5, Boot: "x", Owed: []Owed{{1, 2}, {math.MaxInt64, math.MaxUint32}}},
	} {
		got, err := ParseSync(s.String())
		if err != nil || !reflect.DeepEqual(got, s) {
			t.Errorf("%q reads as %+v, %v; want %+v", s.String(), got, err, s)
		}
	}
	for _, p := range []Point{{}, {Epoch: 2, Point: roomserver.Point{Pos: 9, Depth: math.MaxInt64, NID: math.MaxInt64}}} {
		got, err := ParsePoint(p.String())
		if err != nil || got != p {
			t.Errorf("%q reads as %+v, %v; want %+v", p.String(), got, err, p)
		}
	}
}

// What is no token is the caller's mistake, and never more than that.
func TestForeignTokensAreRefused(t *testing.T) {
	for _, text := range []string{
		"", "s", "s1", "s1.", "s1...", "s1.1.2.b", "s1.-1.2.b.3", "s1.1.2.b.3~", "s1.1.2.b.3~4", "s1.1.2.b.3~x-", "s72594_4483_1934",
		"t1.", "t1.1.2.3", "t1.1.2.3.-4", "t1.1.2.3.4.5", "t1.zzzzzzzzzzzzzzzzzzzz.1.1.1", "s1.1.2." + strings.Repeat("b", 65) + ".3",
	} {
		_, syncErr := ParseSync(text)
		_, pointErr := ParsePoint(text)
		if text == "s1.1.2.b.3~" {
			continue // nothing owed
		}
		if !fault.Is(syncErr, fault.InvalidParam) || !fault.Is(pointErr, fault.InvalidParam) {
			t.Errorf("%q: %v, %v", text, syncErr, pointErr)
		}
	}
}

// A client that is owed more than a token can hold gets a token all the same.
func TestTokensAreBounded(t *testing.T) {
	s := Sync{Owed: make([]Owed, 1000)}
	if got, err := ParseSync(s.String()); err != nil || len(got.Owed) != maxOwed {
		t.Errorf("%d owed, %v", len(got.Owed), err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("s1.1.2.b.3~4-5")
	f.Add("t1.1.2.3.4")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseSync(text); err == nil {
			if again, err := ParseSync(s.String()); err != nil || !reflect.DeepEqual(again, s) {
				t.Errorf("%q reads as %+v, then as %+v, %v", text, s, again, err)
			}
		}
		if p, err := ParsePoint(text); err == nil {
			if again, err := ParsePoint(p.String()); err != nil || again != p {
				t.Errorf("%q reads as %+v, then as %+v, %v", text, p, again, err)
			}
		}
	})
}
