package local

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// statements are the reads that happen at every request and every few
// milliseconds of waiting, prepared once.
type statements struct {
	record, document, log, ready *sql.Stmt
}

func prepare(ctx context.Context, db *sql.DB) (st statements, err error) {
	for _, s := range []struct {
		to   **sql.Stmt
		text string
	}{
		{&st.record, "SELECT " + recordColumns + " FROM records WHERE id = ?"},
		{&st.document, "SELECT version, value FROM documents WHERE collection = ? AND key = ?"},
		// A chunk's length is bounded, so the one that holds an offset is found by range.
		{&st.log, "SELECT offset, data FROM log_chunks WHERE id = ? AND offset > ? ORDER BY offset"},
		{&st.ready, "SELECT EXISTS (SELECT 1 FROM messages WHERE queue = ? AND dead = 0 AND visible_ms <= ?)"},
	} {
		if *s.to, err = db.PrepareContext(ctx, s.text); err != nil {
			return st, err
		}
	}
	return st, nil
}

// quick is the context of a read that takes microseconds: it ends before it
// begins, or not at all. Watching for an end meanwhile costs a goroutine or two,
// more than the read.
func quick(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), ctx.Err()
}

// row is a prepared read of one row.
func row(ctx context.Context, st *sql.Stmt, args []any, into ...any) error {
	ctx, err := quick(ctx)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

// How often a store looks whether another process has written, which a message to
// another process waits for: often while there is something going on, seldom when
// nothing was written for a while, so that a service without work costs next to nothing.
const (
	glance     = 5 * time.Millisecond
	idleGlance = 50 * time.Millisecond
	idleAfter  = 10 * time.Second
)

// watch wakes those who wait when another connection has committed, until ctx
// ends. SQLite counts commits of others for each connection: data_version.
func (s *Store) watch(ctx context.Context) error {
	conn, err := s.read.Conn(ctx)
	if err != nil {
		return err
	}
	st, err := conn.PrepareContext(ctx, "PRAGMA data_version")
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.version = st
	s.watching.Go(func() {
		defer conn.Close()
		defer st.Close()
		var last int64
		written := time.Now()
		for tick := time.NewTimer(glance); ; {
			select {
			case <-ctx.Done():
				tick.Stop()
				return
			case <-tick.C:
			}
			// When it cannot be read the waiting look for themselves.
			if now, err := s.mark(ctx); err == nil && now != last {
				last, written = now, time.Now()
				s.wake.broadcast()
			}
			if time.Since(written) < idleAfter {
				tick.Reset(glance)
			} else {
				tick.Reset(idleGlance)
			}
		}
	})
	return nil
}

// mark is infra.Ports' Mark: SQLite's data_version, which differs from what it was when any other connection has
// committed, of this process or another. Its connection never writes. Source: sqlite.org/pragma.html.
func (s *Store) mark(ctx context.Context) (v int64, err error) {
	err = row(ctx, s.version, nil, &v)
	return v, failed("mark", "", err)
}
