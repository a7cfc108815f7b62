package main

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/lowrank/lowrank/events"
)

// lookEvery is how often a running service looks for base models that were added
// or removed.
const lookEvery = 2 * time.Second

// live is the service's handler. When the base models change it is built again
// over the new catalogue; requests that are held by the old one end there.
type live struct {
	bases  servedBases
	build  func(*events.Catalogue) http.Handler
	now    atomic.Pointer[http.Handler]
	prints string
}

// newLive serves the catalogue, which was read when the bases had those prints.
func newLive(bases servedBases, prints string, c *events.Catalogue, build func(*events.Catalogue) http.Handler) *live {
	l := &live{bases: bases, build: build, prints: prints}
	l.set(c)
	return l
}

func (l *live) set(c *events.Catalogue) {
	h := l.build(c)
	l.now.Store(&h)
}

// ServeHTTP implements http.Handler.
func (l *live) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*l.now.Load()).ServeHTTP(w, r) }

// watch looks at the bases until ctx ends.
func (l *live) watch(ctx context.Context, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookEvery):
		}
		prints := l.bases.prints()
		if prints == l.prints {
			continue
		}
		l.prints = prints // one that cannot be read is not tried again before it changes
		c, err := l.bases.catalogue(ctx)
		if err != nil {
			log.Error("the base models changed and cannot all be read; those from before are served", "err", err)
			continue
		}
		l.set(c)
		var names []string
		for _, b := range c.Bases() {
			names = append(names, b.Name)
		}
		log.Info("the base models changed", "bases", names)
	}
}
