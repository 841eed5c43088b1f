package accounts

import (
	"context"
	"strings"
	"testing"

	"entente/internal/fault"
)

func cheap() *hasher { return newHasher(PasswordOptions{Memory: 64 << 10, Passes: 1, MinLength: 3}) }

func TestHashAndVerify(t *testing.T) {
	h := cheap()
	for _, password := range []string{"secret", "", "pässwörd ✓", strings.Repeat("x", maxPassword)} {
		hashed, err := h.hash(t.Context(), password)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(hashed, "$argon2id$v=19$m=64,t=1,p=1$") {
			t.Errorf("the hash is %s", hashed)
		}
		for try, want := range map[string]bool{password: true, password + "x": false} {
			if ok, err := h.verify(t.Context(), hashed, try); err != nil || ok != want {
				t.Errorf("%q against the hash of %q: %v, error %v", try, password, ok, err)
			}
		}
	}
	other, _ := h.hash(t.Context(), "secret")
	if again, _ := h.hash(t.Context(), "secret"); again == other {
		t.Error("the same password has the same hash twice: there is no salt")
	}
}

// Hashes keep what they were made with, so that settings can change.
func TestVerifyWithOtherSettings(t *testing.T) {
	old, err := cheap().hash(t.Context(), "secret")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := newHasher(PasswordOptions{Memory: 128 << 10, Passes: 2}).verify(t.Context(), old, "secret"); err != nil || !ok {
		t.Errorf("verified: %v, error %v", ok, err)
	}
}

// Nothing is a right password where there is no hash, and it costs as much.
func TestVerifyWithoutAHash(t *testing.T) {
	h := cheap()
	if ok, err := h.verify(t.Context(), "", ""); ok || err != nil {
		t.Errorf("verified: %v, error %v", ok, err)
	}
	if ok, err := h.verify(t.Context(), "damaged", "x"); ok || err == nil {
		t.Errorf("a damaged hash verified: %v, error %v", ok, err)
	}
}

func TestNewPasswords(t *testing.T) {
	h := cheap()
	for password, want := range map[string]fault.Kind{"äö": fault.WeakPassword, strings.Repeat("x", maxPassword+1): fault.InvalidParam} {
		if err := h.check(password); !fault.Is(err, want) {
			t.Errorf("%.5q…: error %v", password, err)
		}
	}
	if err := h.check("äöü"); err != nil {
		t.Error(err)
	}
}

// A caller who goes away does not wait for its turn, and too many are sent
// away at once.
func TestHashesWaitForTheirTurn(t *testing.T) {
	h := cheap()
	for range cap(h.slots) {
		h.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := h.hash(ctx, "x"); err == nil {
		t.Error("hashed out of turn")
	}
	h.waiting.Store(maxWaiting)
	if _, err := h.hash(t.Context(), "x"); !fault.Is(err, fault.Unavailable) {
		t.Errorf("error %v", err)
	}
	if h.waiting.Load() != maxWaiting {
		t.Errorf("%d are waiting", h.waiting.Load())
	}
}

func FuzzParsePHC(f *testing.F) {
	f.Add("$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	f.Add("$argon2id$v=19$m=99999999,t=1,p=1$$")
	f.Add("$$$$$")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := parsePHC(s)
		if err != nil {
			return
		}
		if p.memory == 0 || p.memory > maxMemory || p.passes == 0 || p.passes > maxPasses || len(p.key) != hashSize {
			t.Errorf("%q costs %+v", s, p.cost)
		}
		if again, err := parsePHC(p.String()); err != nil || again.cost != p.cost || string(again.key) != string(p.key) {
			t.Errorf("%q reads as %q", s, p)
		}
	})
}
