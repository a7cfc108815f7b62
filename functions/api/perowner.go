package api

import (
	"context"
	"sync"

	"github.com/lowrank/lowrank/events"
)

// perOwner gives every owner the same number of places. Of owners who use none nothing is kept.
type perOwner struct {
	each int

	mu     sync.Mutex
	owners map[events.Owner]*ownPlaces
}

// ownPlaces are the places of one owner, for as long as someone has or waits for one.
type ownPlaces struct {
	taken chan struct{}
	users int
}

// take waits for one of o's places until ctx is over. free gives it back.
func (p *perOwner) take(ctx context.Context, o events.Owner) (free func(), err error) {
	p.mu.Lock()
	if p.owners == nil {
		p.owners = map[events.Owner]*ownPlaces{}
	}
	own := p.owners[o]
	if own == nil {
		own = &ownPlaces{taken: make(chan struct{}, p.each)}
		p.owners[o] = own
	}
	own.users++
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(p.owners, o)
		}
	}
	select {
	case own.taken <- struct{}{}:
		return func() { <-own.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
