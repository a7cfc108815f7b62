package registry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/registry"
)

var noon = time.Date(2023, 2, 7, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) (*registry.Registry, infra.Ports) {
	t.Helper()
	s, err := local.Open(t.Context(), t.TempDir(), local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return registry.Open(s.Ports().Documents), s.Ports()
}

func TestTokens(t *testing.T) {
	r, ports := open(t)
	token, err := r.CreateToken(t.Context(), "me", noon)
	if err != nil || !strings.HasPrefix(token, "r8_") || len(token) != 35 || strings.ContainsAny(token[3:], "-_") {
		t.Fatalf("got %q, %v", token, err)
	}
	if o, err := r.TokenOwner(t.Context(), token); err != nil || o != "me" {
		t.Errorf("got %q, %v", o, err)
	}
	for _, bad := range []string{"", "x", token[:len(token)-1], strings.ToUpper(token)} {
		if o, err := r.TokenOwner(t.Context(), bad); !errors.Is(err, infra.ErrNotFound) {
			t.Errorf("%q belongs to %q, %v", bad, o, err)
		}
	}
	docs, err := ports.Documents.List(t.Context(), "tokens", "", infra.ListOptions{})
	if err != nil || len(docs.Items) != 1 || strings.Contains(string(docs.Items[0].Value)+docs.Items[0].Key, token) {
		t.Errorf("the token itself is stored: %v, %v", docs.Items, err)
	}
	for _, o := range []events.Owner{"", "Me", "a b", "-a", "a-", "a/b", "replicate", "cloneofsimo", events.Owner(strings.Repeat("x", 64))} {
		if _, err := r.CreateToken(t.Context(), o, noon); err == nil {
			t.Errorf("owner %q was taken", o)
		}
	}
	if _, err := r.RevokeToken(t.Context(), "abc"); !errors.Is(err, infra.ErrInvalid) {
		t.Errorf("a short name: %v", err)
	}
	if _, err := r.RevokeToken(t.Context(), "0000000000"); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("an unknown name: %v", err)
	}
	if got, err := r.RevokeToken(t.Context(), token); err != nil || got.Owner != "me" {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := r.TokenOwner(t.Context(), token); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("a revoked token works: %v", err)
	}
}

func TestWebhookSecretIsMadeOnce(t *testing.T) {
	r, _ := open(t)
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s, err := r.WebhookSecret(context.Background(), "me")
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			seen[s] = true
		})
	}
	wg.Wait()
	if len(seen) != 1 {
		t.Errorf("%d secrets", len(seen))
	}
}

// TestExpireUploads holds that unused uploads go after their time, and none that a job needs.
func TestExpireUploads(t *testing.T) {
	r, ports := open(t)
	const ttl = time.Hour
	add := func(name string, age time.Duration) registry.Upload {
		u := registry.Upload{Token: events.NewSortableID(noon.Add(-age)) + name, Owner: "me", Name: "x.zip", CreatedAt: events.At(noon.Add(-age))}
		u.Key = events.UploadKey(u.Token, u.Name)
		if err := r.AddUpload(t.Context(), u); err != nil {
			t.Fatal(err)
		}
		if _, err := ports.Blobs.Put(t.Context(), u.Key, strings.NewReader("PK"), infra.PutOptions{}); err != nil {
			t.Fatal(err)
		}
		return u
	}
	use := func(u registry.Upload, id events.JobID, age time.Duration) {
		if err := r.Use(t.Context(), u.Token, id, noon.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	old, fresh, needed, usedLately, finished := add("old", 2*ttl), add("fresh", ttl/2), add("needed", 9*ttl), add("used", 8*ttl), add("finished", 7*ttl)
	use(needed, "running", 5*ttl)
	use(usedLately, "done", ttl/2)
	use(finished, "done", 3*ttl)
	ended := func(_ context.Context, id events.JobID) (bool, error) { return id == "done", nil }
	for range 2 { // the second time finds nothing more
		if _, err := r.ExpireUploads(t.Context(), ports.Blobs, noon, ttl, ended); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name string
		u    registry.Upload
		kept bool
	}{{"Old", old, false}, {"Fresh", fresh, true}, {"Needed", needed, true}, {"UsedLately", usedLately, true}, {"Finished", finished, false}} {
		_, err := r.Upload(t.Context(), tt.u.Token)
		_, berr := ports.Blobs.Stat(t.Context(), tt.u.Key, "")
		if (err == nil) != tt.kept || (berr == nil) != tt.kept {
			t.Errorf("%s: entry %v, blob %v, kept should be %v", tt.name, err, berr, tt.kept)
		}
	}
}

// TestReceived holds that a late event of an older object does not undo a newer one's.
func TestReceived(t *testing.T) {
	r, _ := open(t)
	u := registry.Upload{Token: "t", Owner: "me", CreatedAt: events.At(noon)}
	if err := r.AddUpload(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	object := func(generation string, s int) events.ObjectCreated {
		return events.ObjectCreated{Generation: generation, Size: int64(s), Time: events.At(noon.Add(time.Duration(s) * time.Second))}
	}
	for _, o := range []events.ObjectCreated{object("g1", 1), object("g2", 2), object("g1", 1), object("g2", 2)} {
		if err := r.Received(t.Context(), "t", o, ""); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := r.Upload(t.Context(), "t"); err != nil || got.Generation != "g2" || got.Size != 2 {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := r.Received(t.Context(), "nosuch", object("g", 1), ""); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestFilesAreNewestFirst(t *testing.T) {
	r, _ := open(t)
	var ids []string
	for i := range 5 {
		f := registry.File{ID: events.NewSortableID(noon.Add(time.Duration(i) * time.Millisecond)), Name: fmt.Sprint(i)}
		ids = append([]string{f.ID}, ids...)
		if err := r.AddFile(t.Context(), "me", f); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	cursor := ""
	for {
		page, err := r.Files(t.Context(), "me", cursor, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range page.Items {
			got = append(got, f.ID)
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("got %v, want %v", got, ids)
	}
	if _, err := r.File(t.Context(), "bob", ids[0]); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("another owner's file: %v", err)
	}
}

func TestVersions(t *testing.T) {
	r, _ := open(t)
	for i, v := range []registry.Version{{ID: "a", Model: "me/x"}, {ID: "b", Model: "me/y"}, {ID: "c", Model: "me/x"}} {
		v.CreatedAt = events.At(noon.Add(time.Duration(i) * time.Second))
		for range 2 {
			if err := r.AddVersion(t.Context(), "me", v); err != nil {
				t.Fatal(err)
			}
			v.CreatedAt = events.At(noon.Add(time.Hour)) // a repetition keeps the first time
		}
	}
	vs, err := r.Versions(t.Context(), "me", "me/x")
	if err != nil || len(vs) != 2 || vs[0].ID != "c" || !vs[1].CreatedAt.Equal(noon) {
		t.Errorf("got %+v, %v", vs, err)
	}
	if err := r.DeleteVersion(t.Context(), "me", "me/y", "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Version(t.Context(), "me", "a"); err != nil {
		t.Errorf("deleted under another model: %v", err)
	}
	if err := r.DeleteVersion(t.Context(), "me", "me/x", "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Version(t.Context(), "me", "a"); !errors.Is(err, infra.ErrNotFound) {
		t.Errorf("not deleted: %v", err)
	}
}
