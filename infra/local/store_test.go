package local

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/infratest"
)

var _ infra.Clock = (*infratest.Clock)(nil)

func open(t *testing.T, dir string, o Options) *Store {
	t.Helper()
	s, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	one, two := open(t, dir, Options{}), open(t, dir, Options{})
	for range 2 {
		if err := one.Lock(); err != nil {
			t.Fatal(err)
		}
	}
	err := two.Lock()
	if !errors.Is(err, infra.ErrInUse) || !strings.Contains(err.Error(), "another lowrank serve is using this folder") {
		t.Errorf("got %v, want a sentence that says who has it", err)
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	if err := two.Lock(); err != nil {
		t.Errorf("after the first closed: %v", err)
	}
}

func TestOpenErrors(t *testing.T) {
	t.Run("ErrNewerSchema", func(t *testing.T) {
		dir := t.TempDir()
		s := open(t, dir, Options{})
		if _, err := s.write.Exec("PRAGMA user_version = 99"); err != nil {
			t.Fatal(err)
		}
		s.Close()
		if _, err := Open(t.Context(), dir, Options{}); err == nil || !strings.Contains(err.Error(), "newer lowrank") {
			t.Errorf("got %v, want a sentence about the version", err)
		}
	})
	t.Run("ErrNotAFolder", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), path, Options{}); err == nil {
			t.Error("a file was opened as a folder")
		}
	})
	t.Run("ErrNotADatabase", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "lowrank.db"), []byte(strings.Repeat("not a database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), dir, Options{}); err == nil {
			t.Error("garbage was opened as a database")
		}
	})
	t.Run("OKOddName", func(t *testing.T) {
		s := open(t, filepath.Join(t.TempDir(), "a b%20?c#d&é"), Options{})
		if _, err := os.Stat(filepath.Join(s.dir, "lowrank.db")); err != nil {
			t.Error(err)
		}
	})
}

func TestFilesAreTheUsersAlone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no such bits")
	}
	s := open(t, filepath.Join(t.TempDir(), "data"), Options{})
	if _, err := s.Ports().Blobs.Put(t.Context(), "uploads/a", strings.NewReader("x"), infra.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && d.IsDir() && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is open to others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestTidy(t *testing.T) {
	ctx := t.Context()
	clock := infratest.NewClock(time.Now())
	s := open(t, t.TempDir(), Options{Clock: clock})
	p := s.Ports()
	kept, err := p.Blobs.Put(ctx, "uploads/a", strings.NewReader("kept"), infra.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * orphanAge)
	orphan, young, part := s.blobPath(strings.Repeat("ab", 16)), s.blobPath(strings.Repeat("cd", 16)), filepath.Join(s.dir, "blobs", "tmp", "part")
	for _, path := range []string{orphan, young, part} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("left by a crash"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{orphan, part, s.blobPath(kept.Generation)} {
		if err := os.Chtimes(path, old, old); err != nil {
			t.Fatal(err)
		}
	}
	q := p.Queues.Queue(infra.TrainingQueue)
	if err := q.Send(ctx, []byte("poison"), 0); err != nil {
		t.Fatal(err)
	}
	for range infra.MaxReceives(infra.TrainingQueue) {
		if _, err := q.Receive(ctx, 1, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := p.Jobs.Create(ctx, infra.Record{ID: "a", Owner: "o", Kind: "k", CreatedAt: clock.Now(), Payload: json.RawMessage("1")}); err != nil {
		t.Fatal(err)
	}
	count := func() (dead, changes int) {
		t.Helper()
		letters, err := q.DeadLetters(ctx, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.read.QueryRow("SELECT COUNT(*) FROM changes").Scan(&changes); err != nil {
			t.Fatal(err)
		}
		return len(letters), changes
	}
	for _, c := range []struct {
		pass          time.Duration
		dead, changes int
	}{{0, 1, 1}, {changeAge + time.Hour, 1, 0}, {deadLetterAge, 0, 0}} {
		clock.Advance(c.pass)
		if err := s.Tidy(ctx); err != nil {
			t.Fatal(err)
		}
		if dead, changes := count(); dead != c.dead || changes != c.changes {
			t.Errorf("after %v more: %d dead letters and %d changes, want %d and %d", c.pass, dead, changes, c.dead, c.changes)
		}
	}
	for path, want := range map[string]bool{orphan: false, part: false, young: true, s.blobPath(kept.Generation): true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", path, err == nil, want)
		}
	}
}

// The notifications are what events reads as S3's.
func TestNotificationIsS3s(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := s.Ports()
	key := "uploads/x/Fotos aus Köln (1)+100%.zip"
	var sequencer string
	for range 2 {
		info, err := p.Blobs.Put(t.Context(), key, strings.NewReader("zip"), infra.PutOptions{})
		if err != nil {
			t.Fatal(err)
		}
		m, err := p.Queues.Queue(infra.ObjectQueue).Receive(t.Context(), 1, 0, time.Hour)
		if err != nil || len(m) != 1 {
			t.Fatalf("%v, %v", m, err)
		}
		got, err := events.ParseObjectCreated(m[0].Body)
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v", m[0].Body, err)
		}
		g := got[0]
		if g.Key != key || g.Generation != info.Generation || g.Size != 3 || g.ETag != info.ETag || g.Time.IsZero() || g.Sequencer <= sequencer {
			t.Errorf("got %+v, want it to say %+v, after sequencer %q", g, info, sequencer)
		}
		sequencer = g.Sequencer
	}
}

func TestPublish(t *testing.T) {
	status := http.StatusOK
	var body []byte
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ = io.ReadAll(r.Body)
		w.WriteHeader(status)
	}))
	defer receiver.Close()
	s := open(t, t.TempDir(), Options{EventsTo: receiver.URL})
	e := infra.Event{ID: "e1", Source: "lowrank", Type: "lowrank.output.created", Time: time.Now(), Detail: json.RawMessage(`{"id":"x"}`)}
	if err := s.Ports().Events.Publish(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	var got struct {
		ID         string
		Source     string
		DetailType string `json:"detail-type"`
		Detail     struct{ ID string }
	}
	if err := json.Unmarshal(body, &got); err != nil || got.ID != "e1" || got.Source != "lowrank" || got.DetailType != e.Type || got.Detail.ID != "x" {
		t.Errorf("posted %s", body)
	}
	status = http.StatusInternalServerError
	if err := s.Ports().Events.Publish(t.Context(), e); !infra.Retryable(err) {
		t.Errorf("a receiver's 500: got %v, want an error that may pass", err)
	}
	receiver.Close()
	if err := s.Ports().Events.Publish(t.Context(), e); !infra.Retryable(err) {
		t.Errorf("no receiver: got %v, want an error that may pass", err)
	}
}

// A database that may not grow is what SQLite sees on a full disk.
func TestDatabaseFull(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	p := s.Ports()
	var pages int
	if err := s.write.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	if err := s.write.QueryRow("PRAGMA max_page_count = " + strconv.Itoa(pages+20)).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	q := p.Queues.Queue(infra.PredictionQueue)
	sent := 0
	var err error
	for ; sent < 1000; sent++ {
		if err = q.Send(t.Context(), []byte(strings.Repeat("x", 10000)), 0); err != nil {
			break
		}
	}
	if infra.KindOf(err) != infra.ErrFull || infra.Retryable(err) || !strings.Contains(err.Error(), "free some space") {
		t.Fatalf("got %v, want that the disk is full", err)
	}
	if _, err := p.Blobs.Put(t.Context(), "uploads/"+strings.Repeat("k", 1000), strings.NewReader("x"), infra.PutOptions{Metadata: map[string]string{"m": strings.Repeat("x", 2000)}}); infra.KindOf(err) != infra.ErrFull && err != nil {
		t.Errorf("Put: got %v, want that the disk is full, or that it just fitted", err)
	}
	if d, err := q.Depth(t.Context()); err != nil || d.Waiting != sent {
		t.Errorf("%d messages, %v; want the %d that were answered", d.Waiting, err, sent)
	}
	if _, err := s.write.Exec("PRAGMA max_page_count = 1000000"); err != nil {
		t.Fatal(err)
	}
	if err := q.Send(t.Context(), []byte("x"), 0); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

func TestFailed(t *testing.T) {
	inner := &infra.Error{Op: "inner", Kind: infra.ErrGone}
	for name, c := range map[string]struct {
		err  error
		kind infra.Kind
	}{
		"OK": {nil, ""}, "Kept": {inner, infra.ErrGone}, "NoRows": {sql.ErrNoRows, infra.ErrNotFound}, "Unknown": {errors.New("x"), infra.ErrUnavailable},
	} {
		if got := infra.KindOf(failed("op", "key", c.err)); got != c.kind {
			t.Errorf("%s: kind %q, want %q", name, got, c.kind)
		}
	}
	if err := failed("op", "key", context.Canceled); !errors.Is(err, context.Canceled) || infra.Retryable(err) {
		t.Errorf("got %v, want the context's end", err)
	}
}

func FuzzCursor(f *testing.F) {
	f.Add(cursor{Scope: 1, Num: 5, Text: []byte("x")}.String(), uint32(1))
	f.Add("%%%", uint32(0))
	f.Add("bnVsbA", uint32(0)) // null
	f.Fuzz(func(t *testing.T, text string, mark uint32) {
		c, err := parseCursor("op", text, mark)
		if err == nil && c.Scope != mark || err != nil && infra.KindOf(err) != infra.ErrInvalid {
			t.Errorf("parseCursor(%q, %d) = %+v, %v", text, mark, c, err)
		}
	})
}

// What one process received is known from what others did, and can be given back when that process has died.
func TestHeld(t *testing.T) {
	dir, ctx := t.TempDir(), t.Context()
	queue := func(name string) infra.Queue {
		return open(t, dir, Options{Name: name}).Ports().Queues.Queue(infra.PredictionQueue)
	}
	dead, other, nameless := queue("a"), queue("aa"), queue("")
	take := func(q infra.Queue) string {
		t.Helper()
		m, err := q.Receive(ctx, 1, 0, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if len(m) == 0 {
			return ""
		}
		if m[0].Receives > 1 {
			return string(m[0].Body) + " again"
		}
		return string(m[0].Body)
	}
	for _, body := range []string{"1", "2", "3", "4", "5"} {
		if err := other.Send(ctx, []byte(body), 0); err != nil {
			t.Fatal(err)
		}
	}
	for i, q := range []infra.Queue{dead, other, nameless, dead} {
		if got := take(q); got != strconv.Itoa(i+1) {
			t.Fatalf("message %d is %q", i+1, got)
		}
	}
	serve := open(t, dir, Options{})
	held, err := serve.Held(ctx, infra.PredictionQueue, "a")
	if err != nil || len(held) != 2 || string(held[0].Body) != "1" || string(held[1].Body) != "4" {
		t.Fatalf("got %v, %v, want the messages 1 and 4", held, err)
	}
	if held, err := serve.Held(ctx, infra.TrainingQueue, "a"); err != nil || len(held) != 0 {
		t.Errorf("of the other queue: %v, %v", held, err)
	}
	if _, err := serve.Held(ctx, infra.PredictionQueue, ""); infra.KindOf(err) != infra.ErrInvalid {
		t.Errorf("without a name: %v", err)
	}
	for _, m := range held {
		if err := serve.Ports().Queues.Queue(infra.PredictionQueue).Extend(ctx, m.Receipt, 0); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []string{"1 again", "4 again", "5", ""} {
		if got := take(other); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if held, err := serve.Held(ctx, infra.PredictionQueue, "a"); err != nil || len(held) != 0 {
		t.Errorf("once others have them: %v, %v", held, err)
	}
}
