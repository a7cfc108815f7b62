package infratest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/lowrank/lowrank/infra"
)

var blobTests = []test{
	{"RoundTrip", testBlobRoundTrip},
	{"Keys", testBlobKeys},
	{"Metadata", testBlobMetadata},
	{"Ranges", testBlobRanges},
	{"Generations", testBlobGenerations},
	{"IfAbsent", testBlobIfAbsent},
	{"FailedBodyLeavesNothing", testBlobFailedBody},
	{"Delete", testBlobDelete},
	{"List", testBlobList},
	{"ConcurrentWriters", testBlobConcurrentWriters},
	{"Notification", testBlobNotification},
	{"Large", testBlobLarge},
}

func put(t *testing.T, a infra.Blobs, key, body string) infra.BlobInfo {
	t.Helper()
	return must1(a.Put(t.Context(), key, strings.NewReader(body), infra.PutOptions{}))(t)
}

func get(t *testing.T, a infra.Blobs, key string, o infra.GetOptions) string {
	t.Helper()
	b := must1(a.Get(t.Context(), key, o))(t)
	defer b.Body.Close()
	return string(must1(io.ReadAll(b.Body))(t))
}

func testBlobRoundTrip(t *testing.T, a Adapter) {
	for _, size := range []int{0, 1, 1 << 20, 6 << 20} { // beyond one part of a multipart upload
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			body := pattern(size)
			key := unique("tests/round-")
			o := infra.PutOptions{ContentType: "image/png", Metadata: map[string]string{"job": "abc"}}
			// An unnamed reader type, so that the adapter can neither seek nor know the size.
			info := must1(a.Blobs.Put(t.Context(), key, struct{ io.Reader }{bytes.NewReader(body)}, o))(t)
			sum := sha256.Sum256(body)
			if want := hex.EncodeToString(sum[:]); info.SHA256 != want || info.Size != int64(size) || info.Key != key || info.Generation == "" || info.ETag == "" {
				t.Errorf("Put returned %+v, want size %d and sha256 %s", info, size, want)
			}
			b := must1(a.Other(t).Blobs.Get(t.Context(), key, infra.GetOptions{}))(t)
			defer b.Body.Close()
			if got := must1(io.ReadAll(b.Body))(t); !bytes.Equal(got, body) {
				t.Errorf("Get returned %d other bytes, want the %d put", len(got), size)
			}
			for _, got := range []infra.BlobInfo{b.BlobInfo, must1(a.Blobs.Stat(t.Context(), key, ""))(t)} {
				if got.Size != int64(size) || got.ETag != info.ETag || got.Generation != info.Generation || got.ContentType != "image/png" ||
					!maps.Equal(got.Metadata, o.Metadata) || got.Modified.IsZero() || (got.SHA256 != "" && got.SHA256 != info.SHA256) {
					t.Errorf("got %+v, want what Put returned: %+v", got, info)
				}
			}
		})
	}
	_, err := a.Blobs.Get(t.Context(), unique("tests/never"), infra.GetOptions{})
	wantKind(t, err, infra.ErrNotFound)
	_, err = a.Blobs.Stat(t.Context(), unique("tests/never"), "")
	wantKind(t, err, infra.ErrNotFound)
}

func testBlobKeys(t *testing.T, a Adapter) {
	good := map[string]string{
		"Spaces":    "tests/my photos (1).zip",
		"Unicode":   "tests/Fotos aus Köln/写真/🖼 é.zip",
		"Signs":     "tests/a+b&c=d%20e?f#g!'*~\\",
		"Pipe":      "tests/a|b",
		"Dots":      "tests/..a./.b",
		"LongASCII": "tests/" + strings.Repeat("k", infra.MaxKey-len("tests/")),
		"LongUTF8":  "tests/" + strings.Repeat("写", (infra.MaxKey-len("tests/"))/3),
	}
	for name, key := range good {
		t.Run(name, func(t *testing.T) {
			put(t, a.Blobs, key, name)
			if got := get(t, a.Blobs, key, infra.GetOptions{}); got != name {
				t.Errorf("got %q, want %q", got, name)
			}
			page := must1(a.Blobs.List(t.Context(), key, "", 10))(t)
			if len(page.Items) != 1 || page.Items[0].Key != key {
				t.Errorf("List(%q) = %+v, want that key", key, page.Items)
			}
			must(t, a.Blobs.Delete(t.Context(), key))
			_, err := a.Blobs.Stat(t.Context(), key, "")
			wantKind(t, err, infra.ErrNotFound)
		})
	}
	bad := map[string]string{
		"Empty": "", "TooLong": strings.Repeat("k", infra.MaxKey+1), "NotUTF8": "tests/\xff", "Control": "tests/a\nb",
		"DotDot": "tests/../x", "Dot": "./x", "EmptySegment": "tests//x", "LeadingSlash": "/tests", "TrailingSlash": "tests/",
	}
	for name, key := range bad {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := a.Blobs.Put(t.Context(), key, strings.NewReader("x"), infra.PutOptions{})
			wantKind(t, err, infra.ErrInvalid)
		})
	}
}

func testBlobMetadata(t *testing.T, a Adapter) {
	full := map[string]string{"name": "My Photos (1).zip", "long": strings.Repeat("m", infra.MaxMetadata-len("name")-len("My Photos (1).zip")-len("long"))}
	key := unique("tests/metadata-")
	must1(a.Blobs.Put(t.Context(), key, strings.NewReader("x"), infra.PutOptions{Metadata: full}))(t)
	if got := must1(a.Blobs.Stat(t.Context(), key, ""))(t); !maps.Equal(got.Metadata, full) {
		t.Errorf("2 KB of metadata came back as %d names", len(got.Metadata))
	}
	for name, c := range map[string]struct {
		m    map[string]string
		kind infra.Kind
	}{
		"ErrTooLarge": {map[string]string{"long": strings.Repeat("m", infra.MaxMetadata)}, infra.ErrTooLarge},
		"ErrUpper":    {map[string]string{"Name": "x"}, infra.ErrInvalid},
		"ErrUnicode":  {map[string]string{"name": "é"}, infra.ErrInvalid},
		"ErrNewline":  {map[string]string{"name": "a\r\nb"}, infra.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Blobs.Put(t.Context(), key, strings.NewReader("x"), infra.PutOptions{Metadata: c.m})
			wantKind(t, err, c.kind)
		})
	}
}

func testBlobRanges(t *testing.T, a Adapter) {
	key := unique("tests/ranges-")
	put(t, a.Blobs, key, "0123456789")
	for _, c := range []struct {
		offset, length int64
		want           string
	}{{0, 0, "0123456789"}, {0, 1, "0"}, {3, 4, "3456"}, {3, 0, "3456789"}, {9, 0, "9"}, {8, 100, "89"}, {0, 10, "0123456789"}} {
		if got := get(t, a.Blobs, key, infra.GetOptions{Offset: c.offset, Length: c.length}); got != c.want {
			t.Errorf("range %d+%d: got %q, want %q", c.offset, c.length, got, c.want)
		}
	}
	b := must1(a.Blobs.Get(t.Context(), key, infra.GetOptions{Offset: 3, Length: 4}))(t)
	b.Body.Close()
	if b.Size != 10 {
		t.Errorf("Size of a range is %d, want the whole object's 10", b.Size)
	}
	for _, c := range [][2]int64{{10, 0}, {11, 1}, {-1, 0}, {0, -1}} {
		_, err := a.Blobs.Get(t.Context(), key, infra.GetOptions{Offset: c[0], Length: c[1]})
		wantKind(t, err, infra.ErrInvalid)
	}
	put(t, a.Blobs, key, "")
	if got := get(t, a.Blobs, key, infra.GetOptions{}); got != "" {
		t.Errorf("an empty object read as %q", got)
	}
}

func testBlobGenerations(t *testing.T, a Adapter) {
	key := unique("tests/generations-")
	first := put(t, a.Blobs, key, "first")
	second := put(t, a.Blobs, key, "second")
	if first.Generation == second.Generation || first.ETag == second.ETag {
		t.Fatalf("two contents share a generation or ETag: %+v, %+v", first, second)
	}
	for generation, want := range map[string]string{"": "second", second.Generation: "second", first.Generation: "first"} {
		if got := get(t, a.Blobs, key, infra.GetOptions{Generation: generation}); got != want {
			t.Errorf("generation %q: got %q, want %q", generation, got, want)
		}
		if got := must1(a.Blobs.Stat(t.Context(), key, generation))(t); got.Size != int64(len(want)) {
			t.Errorf("generation %q: size %d, want %d", generation, got.Size, len(want))
		}
	}
	if page := must1(a.Blobs.List(t.Context(), key, "", 0))(t); len(page.Items) != 1 || page.Items[0].Size != int64(len("second")) {
		t.Errorf("List shows %+v, want the current generation alone", page.Items)
	}
	other := unique("tests/generations-")
	put(t, a.Blobs, other, "other")
	_, err := a.Blobs.Get(t.Context(), other, infra.GetOptions{Generation: first.Generation})
	wantKind(t, err, infra.ErrNotFound)
}

func testBlobIfAbsent(t *testing.T, a Adapter) {
	key := unique("tests/absent-")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = a.Blobs.Put(t.Context(), key, strings.NewReader(fmt.Sprint(i)), infra.PutOptions{IfAbsent: true})
		})
	}
	wg.Wait()
	winner := slices.IndexFunc(errs, func(err error) bool { return err == nil })
	for i, err := range errs {
		if i != winner {
			wantKind(t, err, infra.ErrExists)
		}
	}
	if got := get(t, a.Blobs, key, infra.GetOptions{}); got != fmt.Sprint(winner) {
		t.Errorf("writer %d won, but %q is stored", winner, got)
	}
	must(t, a.Blobs.Delete(t.Context(), key))
	must1(a.Blobs.Put(t.Context(), key, strings.NewReader("again"), infra.PutOptions{IfAbsent: true}))(t)
}

func testBlobFailedBody(t *testing.T, a Adapter) {
	key := unique("tests/failed-")
	put(t, a.Blobs, key, "before")
	gone := errors.New("the client went away")
	_, err := a.Blobs.Put(t.Context(), key, io.MultiReader(bytes.NewReader(pattern(6<<20)), iotest.ErrReader(gone)), infra.PutOptions{})
	if !errors.Is(err, gone) {
		t.Fatalf("got %v, want the body's own error", err)
	}
	_, err = a.Blobs.Put(t.Context(), key, bytes.NewReader(pattern(1000)), infra.PutOptions{MaxSize: 999})
	wantKind(t, err, infra.ErrTooLarge)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.Blobs.Put(ctx, key, strings.NewReader("canceled"), infra.PutOptions{})
	if !errors.Is(err, context.Canceled) || infra.Retryable(err) {
		t.Fatalf("got %v, want the context's error, which is not retryable", err)
	}
	if got := get(t, a.Blobs, key, infra.GetOptions{}); got != "before" {
		t.Errorf("after failed puts the object reads %q, want %q", got, "before")
	}
	must1(a.Blobs.Put(t.Context(), key, bytes.NewReader(pattern(999)), infra.PutOptions{MaxSize: 999}))(t)
}

func testBlobDelete(t *testing.T, a Adapter) {
	key := unique("tests/delete-")
	first := put(t, a.Blobs, key, "first")
	put(t, a.Blobs, key, "second")
	keep := put(t, a.Blobs, key+"-not", "neighbour")
	for range 2 {
		must(t, a.Blobs.Delete(t.Context(), key))
	}
	for _, generation := range []string{"", first.Generation} {
		_, err := a.Blobs.Get(t.Context(), key, infra.GetOptions{Generation: generation})
		wantKind(t, err, infra.ErrNotFound)
	}
	if page := must1(a.Blobs.List(t.Context(), key, "", 0))(t); len(page.Items) != 1 || page.Items[0].Key != keep.Key {
		t.Errorf("after Delete List shows %+v, want the neighbour alone", page.Items)
	}
}

func testBlobList(t *testing.T, a Adapter) {
	prefix := unique("tests/list-") + "/"
	var want []string
	for _, name := range []string{"a", "B", "z/1", "z/2", "z0", "é", "写", "🖼", "m"} {
		put(t, a.Blobs, prefix+name, name)
		want = append(want, prefix+name)
	}
	slices.Sort(want)
	var got []string
	for cursor := ""; ; {
		page := must1(a.Blobs.List(t.Context(), prefix, cursor, 2))(t)
		if len(page.Items) > 2 {
			t.Fatalf("a page of %d, want at most 2", len(page.Items))
		}
		for _, info := range page.Items {
			got = append(got, info.Key)
		}
		put(t, a.Blobs, prefix+"A", "behind the cursor from now on: shifts nothing")
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got keys %q, want %q", got, want)
	}
	if page := must1(a.Blobs.List(t.Context(), prefix+"z/", "", 0))(t); len(page.Items) != 2 || page.Next != "" {
		t.Errorf("prefix z/: got %d items and next %q, want 2 and none", len(page.Items), page.Next)
	}
	_, err := a.Blobs.List(t.Context(), prefix, "not a cursor", 0)
	wantKind(t, err, infra.ErrInvalid)
}

func testBlobConcurrentWriters(t *testing.T, a Adapter) {
	key := unique("tests/writers-")
	bodies := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range bodies {
		bodies[i] = bytes.Repeat([]byte{byte('a' + i)}, 300<<10)
		wg.Go(func() {
			for range 3 {
				if _, err := a.Blobs.Put(t.Context(), key, bytes.NewReader(bodies[i]), infra.PutOptions{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := get(t, a.Blobs, key, infra.GetOptions{}); len(got) != 300<<10 || strings.Trim(got, got[:1]) != "" {
		t.Error("the object is a mixture of what two writers put")
	}
}
