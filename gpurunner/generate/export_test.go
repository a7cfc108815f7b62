package generate

// Waiting is how many wait for their turn.
func (b *Batch) Waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.turns)
}

// Shared is how many evaluations the seat's drawing has had with others.
func (s *Seat) Shared() int { return s.shared }
