package accounts

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"entente/internal/fault"
)

// PasswordOptions say how passwords are hashed, with Argon2id.
type PasswordOptions struct {
	// Memory is in bytes for one hash; zero is 32 MiB.
	Memory int64
	// Passes over the memory; zero is 2.
	Passes int
	// MinLength is the least number of characters; zero is no bound.
	MinLength int
}

const (
	defaultMemory = 32 << 20
	defaultPasses = 2
	// allHashes is how much memory all hashes under way may take.
	allHashes = 256 << 20
	// maxWaiting is how many logins may wait for that memory.
	maxWaiting = 256
	// maxPassword is the longest password in bytes.
	maxPassword = 512
	saltSize    = 16
	hashSize    = 32
)

// hasher hashes passwords, a bounded number at once.
type hasher struct {
	cost    cost
	min     int
	slots   chan struct{}
	waiting atomic.Int64
}

// cost is what one hash takes; memory in KiB, as Argon2 counts.
type cost struct {
	memory uint32
	passes uint32
}

func newHasher(o PasswordOptions) *hasher {
	if o.Memory <= 0 {
		o.Memory = defaultMemory
	}
	if o.Passes <= 0 {
		o.Passes = defaultPasses
	}
	atOnce := max(1, min(int64(runtime.GOMAXPROCS(0)), allHashes/o.Memory))
	return &hasher{
		cost:  cost{memory: uint32(min(max(o.Memory>>10, 8), maxMemory)), passes: uint32(min(o.Passes, maxPasses))},
		min:   o.MinLength,
		slots: make(chan struct{}, atOnce),
	}
}

// check refuses a new password that is too short or too long.
//
// Spec: client-server-api/#post_matrixclientv3register
func (h *hasher) check(password string) error {
	switch {
	case len(password) > maxPassword:
		return fault.New(fault.InvalidParam, "The password is longer than %d bytes", maxPassword)
	case utf8.RuneCountInString(password) < h.min:
		return fault.New(fault.WeakPassword, "The password is shorter than %d characters", h.min)
	}
	return nil
}

// hash is the hash of a password in PHC format.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, saltSize)
	rand.Read(salt) // never fails
	key, err := h.derive(ctx, h.cost, password, salt)
	if err != nil {
		return "", err
	}
	return phc{h.cost, salt, key}.String(), nil
}

// verify reports whether a password has this hash. It takes as long when the
// hash is empty, so that nobody learns which users exist.
func (h *hasher) verify(ctx context.Context, hashed, password string) (bool, error) {
	want := phc{cost: h.cost, salt: make([]byte, saltSize)}
	if hashed != "" {
		var err error
		if want, err = parsePHC(hashed); err != nil {
			return false, err
		}
	}
	if len(password) > maxPassword {
		return false, nil
	}
	key, err := h.derive(ctx, want.cost, password, want.salt)
	if err != nil {
		return false, err
	}
	return subtle.ConstantTimeCompare(key, want.key) == 1, nil
}

// derive waits for its turn, since hashes take memory.
func (h *hasher) derive(ctx context.Context, c cost, password string, salt []byte) ([]byte, error) {
	if h.waiting.Add(1) > maxWaiting {
		h.waiting.Add(-1)
		return nil, fault.New(fault.Unavailable, "Too many logins at once")
	}
	select {
	case h.slots <- struct{}{}:
		h.waiting.Add(-1)
	case <-ctx.Done():
		h.waiting.Add(-1)
		return nil, ctx.Err()
	}
	defer func() { <-h.slots }()
	return argon2.IDKey([]byte(password), salt, c.passes, c.memory, 1, hashSize), nil
}

// phc is a hash with what it was made with.
type phc struct {
	cost
	salt, key []byte
}

// String is the PHC string format: $argon2id$v=19$m=…,t=…,p=1$salt$hash.
func (p phc) String() string {
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, p.memory, p.passes, encode(p.salt), encode(p.key))
}

// Bounds on a stored hash, so that a damaged one cannot exhaust memory.
const (
	maxMemory = 1 << 20 // KiB
	maxPasses = 64
)

var errHash = errors.New("accounts: a stored password hash is damaged")

func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return phc{}, errHash
	}
	var p phc
	costs := strings.Split(parts[3], ",")
	if len(costs) != 3 || costs[2] != "p=1" {
		return phc{}, errHash
	}
	memory, ok := bounded(costs[0], "m=", maxMemory)
	passes, ok2 := bounded(costs[1], "t=", maxPasses)
	if !ok || !ok2 {
		return phc{}, errHash
	}
	p.cost = cost{memory: memory, passes: passes}
	var err, err2 error
	p.salt, err = base64.RawStdEncoding.DecodeString(parts[4])
	p.key, err2 = base64.RawStdEncoding.DecodeString(parts[5])
	if err != nil || err2 != nil || len(p.key) != hashSize || len(p.salt) < 8 {
		return phc{}, errHash
	}
	return p, nil
}

// bounded reads a number from 1 to most after a prefix.
func bounded(s, prefix string, most uint64) (uint32, bool) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), ok && err == nil && n >= 1 && n <= most
}
