//go:build unix

package servicetest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
)

// A full disk: a sentence, nothing half written, and all goes on when there is
// room again.
func TestDiskFull(t *testing.T) {
	needService(t)
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m,mode=0700"); err != nil {
		if strings.Contains(","+os.Getenv("LOWRANK_REQUIRE")+",", ",fulldisk,") {
			t.Fatalf("cannot mount a small file system: %v", err)
		}
		t.Skipf("needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	filler := filepath.Join(disk, "filler")
	// fill leaves so many bytes.
	fill := func(t *testing.T, left int64) {
		t.Helper()
		var fs syscall.Statfs_t
		if err := syscall.Statfs(disk, &fs); err != nil {
			t.Fatal(err)
		}
		n := int64(fs.Bavail)*fs.Bsize - left
		// The service writes meanwhile: then less than n fits, and the disk is full as well.
		if err := os.WriteFile(filler, make([]byte, n), 0o600); err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	// keep gives back so much of the filler that so many bytes are left.
	keep := func(t *testing.T, left int64) {
		t.Helper()
		var fs syscall.Statfs_t
		info, err := os.Stat(filler)
		if err := errors.Join(err, syscall.Statfs(disk, &fs)); err != nil {
			t.Fatal(err)
		}
		if more := left - int64(fs.Bavail)*fs.Bsize; more > 0 {
			if err := os.Truncate(filler, info.Size()-more); err != nil {
				t.Fatal(err)
			}
		}
	}
	free := func(t *testing.T) {
		t.Helper()
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("Start", func(t *testing.T) {
		dir := filepath.Join(disk, "start")
		fill(t, 0)
		_, errs, code := run(t, "serve", "--data", dir, "--addr", "127.0.0.1:0")
		if text := sentence(t, errs); code != 1 || !strings.Contains(text, "free some space") || !strings.Contains(text, dir) {
			t.Errorf("%d %q", code, text)
		}
		free(t)
		serve(t, dir, "").stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("Requests", func(t *testing.T) {
		s := serve(t, filepath.Join(disk, "requests"), "")
		zip := make([]byte, 8<<20)
		var up struct {
			UploadURL  string `json:"upload_url"`
			ServingURL string `json:"serving_url"`
		}
		s.call("POST", "/v1/upload/big.zip", nil, &up)
		fill(t, 1<<20)
		var answer []byte
		if code := s.call("PUT", up.UploadURL, zip, &answer); code != 507 || !strings.Contains(string(answer), "full") {
			t.Errorf("PUT: %d %s", code, answer)
		}
		if code := s.call("GET", up.ServingURL, nil, &answer); code != 404 {
			t.Errorf("GET of what did not fit: %d", code)
		}
		if left := entries(t, filepath.Join(s.dir, "blobs", "tmp")); len(left) > 0 {
			t.Errorf("left %q", left)
		}
		free(t)
		fill(t, 0)
		if code := s.call("POST", "/v1/models/replicate/lora/predictions", map[string]any{"input": map[string]any{"prompt": "a cat"}}, &answer); code != 507 {
			t.Errorf("POST: %d %s", code, answer)
		}
		s.call("GET", "/v1/account", nil, &struct{}{}) // reading goes on
		free(t)
		var page struct{ Results []any }
		s.call("GET", "/v1/predictions", nil, &page)
		if len(page.Results) > 0 {
			t.Errorf("a refused job is there: %v", page.Results)
		}
		s.succeeded(s.draw(map[string]any{"prompt": "a cat", "seed": 1}).ID)
		s.stop()
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("Training", func(t *testing.T) {
		s := serve(t, filepath.Join(disk, "training"), "")
		id := s.train(20, 100).ID
		s.atStep(id, 1, 20)
		const room = 128 << 10 // for the records, and not for the concept
		fill(t, room)
		p := s.get(id)
		for ; !p.Status.Terminal(); p = s.get(id) {
			s.alive()
			keep(t, room) // the database's log grows with each beat
			time.Sleep(50 * time.Millisecond)
		}
		if !strings.Contains(deref(p.Error), "disk is full") {
			t.Errorf("%s %q", p.Status, deref(p.Error))
		}
		free(t)
		again := s.succeeded(s.train(5, 5).ID)
		if b := s.file(again); len(b) < 128<<10 {
			t.Errorf("the concept has %d bytes: too few for this test", len(b))
		}
		for _, dir := range []string{filepath.Join(s.dir, "blobs", "tmp"), filepath.Join(s.dir, "scratch")} {
			if left := entries(t, dir); len(left) > 0 {
				t.Errorf("left in %s: %q", dir, left)
			}
		}
		s.stop()
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	})
	// Not even a record can be written: the job stays, and goes on with room again.
	t.Run("NoRoomAtAll", func(t *testing.T) {
		s := serve(t, filepath.Join(disk, "none"), "")
		id := s.train(20, 60).ID
		s.atStep(id, 1, 20)
		fill(t, 0)
		for !strings.Contains(s.log.String(), "no space left") && !strings.Contains(s.log.String(), "is full") {
			s.alive()
			time.Sleep(50 * time.Millisecond)
		}
		if p := s.get(id); p.Status.Terminal() {
			t.Errorf("without room for a word it ended: %s %q", p.Status, deref(p.Error))
		}
		free(t)
		p := s.get(id)
		for ; !p.Status.Terminal(); p = s.get(id) {
			s.alive()
			time.Sleep(50 * time.Millisecond)
		}
		if p.Status != events.Succeeded && !strings.Contains(deref(p.Error), "disk is full") {
			t.Errorf("%s %q", p.Status, deref(p.Error))
		}
		s.stop()
		if err := os.RemoveAll(s.dir); err != nil {
			t.Fatal(err)
		}
	})
	for name, args := range map[string][]string{
		"Generate": {"generate", "--steps", "2", "--out", "cat.png", "a cat"},
		"Train":    {"train", "--max-train-steps-ti", "1", "--max-train-steps-tuning", "1", "--out", "neon.safetensors", "neon-sign.zip"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(disk, name)
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			zipFile(t, dir)
			fill(t, 0)
			defer free(t)
			cmd := exec.Command(binary(t), args...)
			cmd.Dir = dir
			_, errs, code := finish(t, cmd)
			lines := strings.Split(strings.TrimSpace(errs), "\n")
			if last := lines[len(lines)-1]; code != 1 || !strings.HasPrefix(last, "lowrank: ") || !strings.Contains(last, "no space left") {
				t.Errorf("%d %q", code, errs)
			}
			if left := entries(t, dir); !slices.Equal(left, []string{"neon-sign.zip"}) {
				t.Errorf("left %q", left)
			}
		})
	}
}
