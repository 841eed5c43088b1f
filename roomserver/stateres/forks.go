package stateres

// maxForks bounds how many forks are resolved at once: an event has at most
// 20 previous events, and a room's head is kept well below this.
const maxForks = 256

// forkSet is a set of forks.
type forkSet [maxForks / 64]uint64

func (s *forkSet) add(fork int) { s[fork/64] |= 1 << (fork % 64) }

func (s *forkSet) union(o forkSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

// allForks is the set of the first n forks.
func allForks(n int) forkSet {
	var s forkSet
	for i := range n {
		s.add(i)
	}
	return s
}
