package local

import (
	"bytes"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// On a disk that is really full a put says so, leaves nothing behind, and works
// again once there is room. It needs the right to mount a small file system.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m,mode=0700"); err != nil {
		if strings.Contains(","+os.Getenv("LOWRANK_REQUIRE")+",", ",fulldisk,") {
			t.Fatalf("cannot mount a small file system: %v", err)
		}
		t.Skipf("needs the right to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	s, err := Open(t.Context(), dir, Options{PublicURL: "http://h"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close() // before Unmount
	p := s.Ports()
	before, err := p.Blobs.Put(t.Context(), "uploads/a", strings.NewReader("before"), infra.PutOptions{})
	if err != nil {
		t.Fatal(err)
	}
	there := files(t, s)
	_, err = p.Blobs.Put(t.Context(), "uploads/a", bytes.NewReader(make([]byte, 16<<20)), infra.PutOptions{})
	if infra.KindOf(err) != infra.ErrFull || infra.Retryable(err) {
		t.Errorf("got %v, want that the disk is full", err)
	}
	u, err := p.Presigner.PresignPut(t.Context(), "uploads/b", time.Hour, 0)
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	s.UploadHandler().ServeHTTP(w, httptest.NewRequest("PUT", u, bytes.NewReader(make([]byte, 16<<20))))
	if w.Code != 507 {
		t.Errorf("an upload answered %d: %s, want 507", w.Code, w.Body)
	}
	if n := files(t, s); n != there {
		t.Errorf("%d files are left of what did not fit", n-there)
	}
	if info, err := p.Blobs.Stat(t.Context(), "uploads/a", ""); err != nil || info.Generation != before.Generation {
		t.Errorf("got %+v, %v, want the generation from before", info, err)
	}
	if _, err := p.Blobs.Put(t.Context(), "uploads/c", strings.NewReader("fits"), infra.PutOptions{}); err != nil {
		t.Errorf("a small one after that: %v", err)
	}
}
