package apitest

import (
	"sync"
	"time"
)

// Clock is the machine's clock and what it was advanced by. What waits on it (After) wakes when it is
// advanced far enough, too.
type Clock struct {
	mu     sync.Mutex
	offset time.Duration
	moved  chan struct{}
}

// Now implements infra.Clock.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().UTC().Add(c.offset)
}

// Advance moves the clock on.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offset += d
	if c.moved != nil {
		close(c.moved)
		c.moved = nil
	}
}

// After implements infra.Clock.
func (c *Clock) After(d time.Duration) <-chan time.Time {
	at := c.Now().Add(d)
	out := make(chan time.Time, 1)
	go func() {
		for {
			c.mu.Lock()
			if c.moved == nil {
				c.moved = make(chan struct{})
			}
			moved, left := c.moved, at.Sub(time.Now().Add(c.offset))
			c.mu.Unlock()
			if left <= 0 {
				out <- c.Now()
				return
			}
			select {
			case <-moved:
			case <-time.After(left):
			}
		}
	}()
	return out
}
