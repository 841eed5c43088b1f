package state

import (
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Hash is a set hash: the sum, modulo 2^128, of a keyed hash of every entry.
// Sums do not depend on order and take one addition and one subtraction a
// change.
//
// A sum is safe against someone who chooses entries only while the hashes of
// entries are unknown to him: with enough of them he could pick two sets of
// equal sum. The key keeps them unknown.
type Hash struct {
	hi, lo uint64
}

// hashSize is how many bytes a stored hash takes.
const hashSize = 16

func (h Hash) add(o Hash) Hash {
	lo, carry := bits.Add64(h.lo, o.lo, 0)
	hi, _ := bits.Add64(h.hi, o.hi, carry)
	return Hash{hi, lo}
}

func (h Hash) sub(o Hash) Hash {
	lo, borrow := bits.Sub64(h.lo, o.lo, 0)
	hi, _ := bits.Sub64(h.hi, o.hi, borrow)
	return Hash{hi, lo}
}

func (h Hash) append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.hi)
	return binary.BigEndian.AppendUint64(b, h.lo)
}

// hashFrom reads a stored hash; b holds hashSize bytes at least.
func hashFrom(b []byte) Hash {
	return Hash{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// hash is the keyed hash of one entry; that of no event is zero.
func (s *Store) hash(e Entry) Hash {
	if e.NID == 0 {
		return Hash{}
	}
	var in [32 + 4 + 8]byte
	copy(in[:], s.secret[:])
	binary.BigEndian.PutUint32(in[32:], uint32(e.Key))
	binary.BigEndian.PutUint64(in[36:], uint64(e.NID))
	sum := sha256.Sum256(in[:])
	return hashFrom(sum[:])
}
