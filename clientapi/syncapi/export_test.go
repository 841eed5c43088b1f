package syncapi

// Sweep ends what has lasted long enough, as Run does now and then.
func (s *Server) Sweep() { s.sweep() }

// Forget forgets who has not asked for long, as Run does now and then.
func (s *Server) Forget() { s.forgetReaders() }

// InMemory counts the users and the rooms that are in memory.
func (s *Server) InMemory() (readers, lines, ring int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.readers), len(s.lines), s.ringBytes
}
