package local

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// Options configure a Store. The zero value works.
type Options struct {
	Clock     infra.Clock  // nil is the machine's
	PublicURL string       // base of presigned URLs where the context says none (infra.WithPublicURL)
	EventsTo  string       // URL that Publish posts to; "" is nobody
	Client    *http.Client // posts events; nil is one with a 10 s limit
	Name      string       // of this process, for Held; no two ever have the same; "" is none
}

// Store is one open data folder; Ports gives its ports. Safe for concurrent use, also by several
// processes.
type Store struct {
	dir     string
	options Options
	clock   infra.Clock
	write   *sql.DB
	read    *sql.DB
	st      statements
	version *sql.Stmt // of the database, on a connection of its own: see mark
	wake    *wake
	key     []byte // signs upload URLs

	watching  sync.WaitGroup
	stopWatch context.CancelFunc

	lockMu sync.Mutex
	lock   *os.File
}

// Open opens the folder, creating it when it is missing. Several processes may
// have it open; the one that serves also takes Lock.
func Open(ctx context.Context, dir string, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	// Prompts and pictures are in here: for the user alone.
	if err := os.MkdirAll(filepath.Join(dir, "blobs", "tmp"), 0o700); err != nil {
		return nil, failed("open data folder", dir, err)
	}
	s := &Store{dir: dir, options: o, clock: o.Clock, wake: newWake()}
	watching, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stopWatch = stop
	if s.clock == nil {
		s.clock = infra.SystemClock{}
	}
	if s.options.Client == nil {
		s.options.Client = &http.Client{Timeout: 10 * time.Second}
	}
	if s.write, s.read, err = openDatabase(ctx, filepath.Join(dir, "lowrank.db")); err != nil {
		stop()
		return nil, failed("open data folder", dir, err)
	}
	if s.st, err = prepare(ctx, s.read); err == nil {
		err = s.watch(watching)
	}
	if err != nil {
		return nil, errors.Join(failed("open data folder", dir, err), s.Close())
	}
	if s.key, err = s.secret(ctx, "upload-urls"); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close closes the folder and gives the lock back.
func (s *Store) Close() error {
	s.stopWatch()
	s.watching.Wait()
	s.lockMu.Lock()
	defer s.lockMu.Unlock()
	var unlock error
	if s.lock != nil {
		unlock = s.lock.Close()
		s.lock = nil
	}
	return errors.Join(s.read.Close(), s.write.Close(), unlock)
}

// Lock makes this process the only one that serves the folder, until Close or
// its end. Another holder: ErrInUse, with a sentence for the user.
func (s *Store) Lock() error {
	s.lockMu.Lock()
	defer s.lockMu.Unlock()
	if s.lock != nil {
		return nil
	}
	path := filepath.Join(s.dir, "serve.lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return failed("lock data folder", s.dir, err)
	}
	held, err := tryLock(f)
	if err != nil {
		return errors.Join(failed("lock data folder", s.dir, err), f.Close())
	}
	if !held {
		f.Close()
		return &infra.Error{Op: "lock data folder", Kind: infra.ErrInUse, Key: s.dir,
			Err: errors.New("another lowrank serve is using this folder; stop it, or name another one with --data")}
	}
	s.lock = f
	return nil
}

// Ports is the store as the set that handlers and runners take.
func (s *Store) Ports() infra.Ports {
	return infra.Ports{
		Blobs: (*blobs)(s), Presigner: (*blobs)(s), Queues: (*queues)(s),
		Jobs: (*jobs)(s), Index: (*jobs)(s), Logs: (*logs)(s), Changes: (*changes)(s),
		Documents: (*documents)(s), Events: (*eventBus)(s), Clock: s.clock, Mark: s.mark,
	}
}

// secret returns 32 random bytes that stay the same for this folder.
func (s *Store) secret(ctx context.Context, name string) (value []byte, err error) {
	err = s.inTx(ctx, "read secret", name, func(tx *sql.Tx) error {
		fresh := make([]byte, 32)
		rand.Read(fresh)
		if _, err := tx.ExecContext(ctx, "INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING", name, fresh); err != nil {
			return err
		}
		return tx.QueryRowContext(ctx, "SELECT value FROM secrets WHERE name = ?", name).Scan(&value)
	})
	return value, err
}

// randomID is n random bytes in hex.
func randomID(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// wake tells waiting receivers that something was written, by this process at
// once, by another one within a glance.
type wake struct {
	mu sync.Mutex
	ch chan struct{}
}

// pollInterval bounds how long a message goes unseen whose delay or lease is over;
// it grows to maxPollInterval while nothing is found. In real time, also under a fake
// clock: that is how its jumps are noticed.
const (
	pollInterval    = 25 * time.Millisecond
	maxPollInterval = 100 * time.Millisecond
)

func newWake() *wake { return &wake{ch: make(chan struct{})} }

func (w *wake) broadcast() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.ch)
	w.ch = make(chan struct{})
}

func (w *wake) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ch
}

// poll calls look until it reports something found, wait has passed on the
// store's clock, or ctx ends.
func (s *Store) poll(ctx context.Context, wait time.Duration, look func() (found bool, err error)) error {
	var timeout <-chan time.Time
	for interval := pollInterval; ; interval = min(2*interval, maxPollInterval) {
		written := s.wake.wait() // taken before looking, so that nothing falls between
		found, err := look()
		if err != nil || found || wait <= 0 {
			return err
		}
		if timeout == nil {
			timeout = s.clock.After(wait)
		}
		tick := time.NewTimer(interval)
		select {
		case <-ctx.Done():
			tick.Stop()
			return fmt.Errorf("wait: %w", ctx.Err())
		case <-timeout:
			tick.Stop()
			wait = 0 // one last look
		case <-written:
			tick.Stop()
		case <-tick.C:
		}
	}
}
