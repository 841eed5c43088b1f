package stateres

// forkSet is a set of forks.
type forkSet []uint64

func newForkSet(forks int) forkSet { return make(forkSet, (forks+63)/64) }

func (s forkSet) add(fork int) { s[fork/64] |= 1 << (fork % 64) }

func (s forkSet) union(o forkSet) {
	for i := range s {
		s[i] |= o[i]
	}
}

// allForks is the set of the first n forks.
func allForks(n int) forkSet {
	s := newForkSet(n)
	for i := range n {
		s.add(i)
	}
	return s
}
