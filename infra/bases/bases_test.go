package bases_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/bases"
	"github.com/lowrank/lowrank/infra/local"
)

func open(t *testing.T) (bases.Store, infra.Ports) {
	t.Helper()
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	p := s.Ports()
	return bases.Store{Blobs: p.Blobs, Docs: p.Documents}, p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder makes a base's folder with the given files.
func folder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, os.WriteFile(path, []byte(body), 0o600))
	}
	return dir
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

// noise is a file that repeats nowhere.
func noise(n int) string {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return string(b)
}

func TestAddAndFetch(t *testing.T) {
	s, _ := open(t)
	weights := noise(72 << 20) // three pieces
	dir := folder(t, map[string]string{
		"model_index.json": "{}", "unet/model.safetensors": weights, "text/model.safetensors": "text",
		"unet/model.bin": "left out", ".git/config.json": "left out", "README.md": "left out",
	})
	var last int64
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "sd"}, dir, false, func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	}))
	if want := int64(len(weights) + len("{}") + len("text")); last != want {
		t.Errorf("progress ended at %d, want %d", last, want)
	}
	cache := t.TempDir()
	for range 2 {
		path, err := s.Fetch(t.Context(), "sd", cache)
		must(t, err)
		if read(t, filepath.Join(path, "unet", "model.safetensors")) != weights || read(t, filepath.Join(path, "text/model.safetensors")) != "text" {
			t.Error("fetched files differ from those added")
		}
		for _, name := range []string{"unet/model.bin", ".git", "README.md"} {
			if _, err := os.Stat(filepath.Join(path, name)); err == nil {
				t.Errorf("%s was kept too", name)
			}
		}
	}
	single := filepath.Join(folder(t, map[string]string{"anime.safetensors": "single"}), "anime.safetensors")
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "anime"}, single, false, nil))
	path, err := s.Fetch(t.Context(), "anime", cache)
	must(t, err)
	if filepath.Base(path) != "anime.safetensors" || read(t, path) != "single" {
		t.Errorf("the single file is at %s", path)
	}
	_, err = s.Fetch(t.Context(), "never", cache)
	if !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("got %v for a base that is not there, want not found", err)
	}
}

func TestAddIsSentOnce(t *testing.T) {
	s, p := open(t)
	puts := &countingBlobs{Blobs: p.Blobs}
	s.Blobs = puts
	dir := folder(t, map[string]string{"a.safetensors": "same", "b.safetensors": "same", "c.json": "{}"})
	for _, name := range []string{"one", "one", "two"} {
		must(t, s.Add(t.Context(), events.BaseLimits{Name: name}, dir, false, nil))
	}
	if n := puts.n.Load(); n != 2 {
		t.Errorf("%d pieces were sent, want 2: the same content once", n)
	}
	must(t, s.Remove(t.Context(), "one"))
	if _, err := s.Fetch(t.Context(), "two", t.TempDir()); err != nil {
		t.Errorf("removing one base took another's files: %v", err)
	}
	must(t, s.Remove(t.Context(), "two"))
	page, err := p.Blobs.List(t.Context(), "bases/", "", 0)
	must(t, err)
	if len(page.Items) > 0 {
		t.Errorf("%d files are left of no base", len(page.Items))
	}
}

// TestAddGoesOn cuts an Add off: nothing of the base is seen, and the next Add
// sends what was missing.
func TestAddGoesOn(t *testing.T) {
	s, p := open(t)
	blobs := &countingBlobs{Blobs: p.Blobs, most: 2}
	s.Blobs = blobs
	dir := folder(t, map[string]string{"a.safetensors": noise(130 << 20)}) // five pieces
	if err := s.Add(t.Context(), events.BaseLimits{Name: "sd"}, dir, false, nil); !errors.Is(err, errCut) {
		t.Fatalf("got %v from an Add that was cut off", err)
	}
	if _, err := s.Get(t.Context(), "sd"); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("got %v for a base of which a part is there, want not found", err)
	}
	blobs.most = 100
	sent := blobs.n.Load()
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "sd"}, dir, false, nil))
	if n := blobs.n.Load() - sent; n != 3 {
		t.Errorf("the second Add sent %d pieces, want the 3 that were missing", n)
	}
	if _, err := s.Fetch(t.Context(), "sd", t.TempDir()); err != nil {
		t.Error(err)
	}
}

var errCut = errors.New("cut off")

// countingBlobs takes most puts, counts them, and fails the rest.
type countingBlobs struct {
	infra.Blobs
	n    atomic.Int32
	most int32 // 0 is no limit
}

func (c *countingBlobs) Put(ctx context.Context, key string, body io.Reader, o infra.PutOptions) (infra.BlobInfo, error) {
	if n := c.n.Add(1); c.most > 0 && n > c.most {
		c.n.Add(-1)
		return infra.BlobInfo{}, errCut
	}
	return c.Blobs.Put(context.WithoutCancel(ctx), key, body, o) // what is under way when another fails comes through
}

// TestFetchCleansUp: what a killed runner left goes, what another one is at stays.
func TestFetchCleansUp(t *testing.T) {
	s, _ := open(t)
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "sd"}, folder(t, map[string]string{"a.safetensors": "x"}), false, nil))
	cache := t.TempDir()
	old, young := filepath.Join(cache, "files", "part-1"), filepath.Join(cache, "files", "part-2")
	must(t, os.MkdirAll(filepath.Dir(old), 0o700))
	for _, path := range []string{old, young} {
		must(t, os.WriteFile(path, nil, 0o600))
	}
	long := time.Now().Add(-2 * time.Hour)
	must(t, os.Chtimes(old, long, long))
	_, err := s.Fetch(t.Context(), "sd", cache)
	must(t, err)
	if _, err := os.Stat(old); err == nil {
		t.Error("an old part stayed")
	}
	if _, err := os.Stat(young); err != nil {
		t.Error("a young part went")
	}
}

func TestFetchChecksTheHash(t *testing.T) {
	s, p := open(t)
	dir := folder(t, map[string]string{"a.safetensors": "good"})
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "sd"}, dir, false, nil))
	b, err := s.Get(t.Context(), "sd")
	must(t, err)
	if _, err := p.Blobs.Put(t.Context(), "bases/"+b.Files[0].Pieces[0], bytes.NewReader([]byte("evil")), infra.PutOptions{}); err != nil {
		t.Fatal(err)
	}
	cache := t.TempDir()
	if _, err := s.Fetch(t.Context(), "sd", cache); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("got %v for changed bytes, want an error about the hash", err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*", "*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%v stayed of what was refused", left)
	}
}

func TestDefault(t *testing.T) {
	s, _ := open(t)
	if _, err := s.Catalogue(t.Context()); !errors.Is(err, bases.ErrNone) {
		t.Errorf("got %v of an empty store, want ErrNone", err)
	}
	first := func(want string) {
		t.Helper()
		all, err := s.List(t.Context())
		must(t, err)
		if all[0].Limits.Name != want {
			t.Errorf("the default is %s, want %s", all[0].Limits.Name, want)
		}
		if _, err := s.Catalogue(t.Context()); err != nil {
			t.Error(err)
		}
	}
	dir := folder(t, map[string]string{"a.safetensors": "x"})
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "aaa"}, dir, false, nil))
	must(t, s.Register(t.Context(), events.BaseLimits{Name: "shipped", SHA256: "1"}))
	first("shipped")
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "zzz"}, dir, true, nil))
	first("zzz")
	must(t, s.Add(t.Context(), events.BaseLimits{Name: "mmm"}, dir, true, nil))
	first("mmm")
	must(t, s.Register(t.Context(), events.BaseLimits{Name: "shipped", SHA256: "2"}))
	shipped, err := s.Get(t.Context(), "shipped")
	must(t, err)
	if shipped.Limits.SHA256 != "2" {
		t.Error("a newer runner's base was not registered")
	}
}
