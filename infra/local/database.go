package local

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lowrank/lowrank/infra"
)

// busyTimeout is how long a writer waits for another process's transaction.
// Transactions take milliseconds, so only a stuck disk uses it up.
const busyTimeout = 20 * time.Second

// openDatabase opens path twice: a single connection for writing, whose
// transactions take the write lock at their beginning (so they never fail half
// way for want of it), and a few for reading, which never wait for the writer.
func openDatabase(ctx context.Context, path string) (write, read *sql.DB, err error) {
	open := func(options string) (*sql.DB, error) {
		u := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path)}
		pragmas := fmt.Sprintf("?_pragma=busy_timeout(%d)&_pragma=synchronous(FULL)&_pragma=temp_store(MEMORY)", busyTimeout.Milliseconds())
		return sql.Open("sqlite", u.String()+pragmas+options)
	}
	if write, err = open("&_txlock=immediate"); err != nil {
		return nil, nil, err
	}
	write.SetMaxOpenConns(1)
	if err := enterWAL(ctx, write); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	if err := migrate(ctx, write); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	if read, err = open(""); err != nil {
		return nil, nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(2 + runtime.GOMAXPROCS(0))
	read.SetMaxIdleConns(2 + runtime.GOMAXPROCS(0))
	return write, read, nil
}

// enterWAL switches to write-ahead mode, which stays in the file. Two processes
// that create the folder at once meet here, and SQLite does not wait in that
// switch, whatever its busy timeout.
func enterWAL(ctx context.Context, db *sql.DB) error {
	for deadline := time.Now().Add(busyTimeout); ; {
		var mode string
		err := db.QueryRowContext(ctx, "PRAGMA journal_mode=WAL").Scan(&mode)
		if err == nil && mode == "wal" {
			return nil
		}
		if err == nil {
			return fmt.Errorf("the file system does not carry SQLite's write-ahead log (mode %q); put the data folder on a local disk", mode)
		}
		if sqliteCode(err) != sqlite3.SQLITE_BUSY || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// migrate brings the schema to schemaVersion, in one transaction.
func migrate(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var version int
	if err := tx.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	switch {
	case version == schemaVersion:
		return nil
	case version > schemaVersion:
		return fmt.Errorf("the data folder was written by a newer lowrank (schema %d, this one knows %d); run that version", version, schemaVersion)
	}
	if _, err := tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", schemaVersion)); err != nil {
		return err
	}
	return tx.Commit()
}

// inTx runs fn in a write transaction and wakes those who wait for what it wrote.
func (s *Store) inTx(ctx context.Context, op, key string, fn func(tx *sql.Tx) error) error {
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return failed(op, key, err)
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return failed(op, key, err)
	}
	if err := tx.Commit(); err != nil {
		return failed(op, key, err)
	}
	s.wake.broadcast()
	return nil
}

// failed gives err its kind. One that has a kind keeps it; a context's end stays
// recognisable as such.
func failed(op, key string, err error) error {
	var known infra.Kind
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%s: %w", op, err)
	case errors.Is(err, sql.ErrNoRows):
		return &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: key}
	case sqliteCode(err) == sqlite3.SQLITE_FULL, diskFull(err):
		return &infra.Error{Op: op, Kind: infra.ErrFull, Key: key, Err: fmt.Errorf("free some space on the disk of the data folder: %w", err)}
	}
	return &infra.Error{Op: op, Kind: infra.ErrUnavailable, Key: key, Err: err}
}

// sqliteCode is err's primary result code, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// invalid is an ErrInvalid with a sentence.
func invalid(op, key, format string, args ...any) error {
	return &infra.Error{Op: op, Kind: infra.ErrInvalid, Key: key, Err: fmt.Errorf(format, args...)}
}

// tooLarge is an ErrTooLarge with the sizes.
func tooLarge(op, key string, size, limit int64) error {
	return &infra.Error{Op: op, Kind: infra.ErrTooLarge, Key: key, Err: fmt.Errorf("%d bytes, the limit is %d", size, limit)}
}
