package infratest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/lowrank/lowrank/infra"
)

var logTests = []test{
	{"AppendRead", testLogAppendRead},
	{"TwoWriters", testLogTwoWriters},
	{"TwoMegabytes", testLogTwoMegabytes},
	{"BadArguments", testLogBadArguments},
}

func testLogAppendRead(t *testing.T, a Adapter) {
	ctx, id := t.Context(), unique("job_")
	read := func(offset int64, max int) string { return string(must1(a.Logs.Read(ctx, id, offset, max))(t)) }
	if got := read(0, 0); got != "" {
		t.Errorf("a log never written reads %q", got)
	}
	var offset int64
	for _, chunk := range []string{"first\n", " 10%|█| 1/10\n", "\xff\x00 not text\n"} {
		for range 2 { // again is no error and adds nothing
			must(t, a.Logs.Append(ctx, id, offset, []byte(chunk)))
		}
		offset += int64(len(chunk))
	}
	all := "first\n 10%|█| 1/10\n\xff\x00 not text\n"
	for _, c := range []struct {
		offset int64
		max    int
		want   string
	}{{0, 0, all}, {0, 3, all[:3]}, {3, 0, all[3:]}, {4, 5, all[4:9]}, {6, 0, all[6:]}, {offset - 1, 100, "\n"}, {offset, 0, ""}, {offset + 10, 0, ""}} {
		if got := read(c.offset, c.max); got != c.want {
			t.Errorf("Read(%d, %d) = %q, want %q", c.offset, c.max, got, c.want)
		}
	}
	if got := string(must1(a.Other(t).Logs.Read(ctx, unique("job_"), 0, 0))(t)); got != "" {
		t.Errorf("another job's log reads %q", got)
	}
	for range 2 {
		must(t, a.Logs.Delete(ctx, id))
	}
	if got := read(0, 0); got != "" {
		t.Errorf("a deleted log reads %q", got)
	}
	must(t, a.Logs.Append(ctx, id, 0, []byte("anew")))
}

// A runner that lost its lease still writes: only one of the two gets on.
func testLogTwoWriters(t *testing.T, a Adapter) {
	ctx, id := t.Context(), unique("job_")
	must(t, a.Logs.Append(ctx, id, 0, []byte("0123456789")))
	for name, c := range map[string]struct {
		offset int64
		chunk  string
	}{"SameOffsetOtherText": {0, "abcdefghij"}, "Prefix": {0, "01234"}, "Inside": {5, "56789"}, "Gap": {11, "x"}} {
		t.Run("Err"+name, func(t *testing.T) {
			wantKind(t, a.Other(t).Logs.Append(ctx, id, c.offset, []byte(c.chunk)), infra.ErrConflict)
		})
	}
	if got := must1(a.Logs.Read(ctx, id, 0, 0))(t); string(got) != "0123456789" {
		t.Errorf("the log reads %q", got)
	}
}

func testLogTwoMegabytes(t *testing.T, a Adapter) {
	ctx, id := t.Context(), unique("job_")
	all := pattern(2 << 20)
	for offset, size := 0, 1; offset < len(all); size = min(size*2, infra.MaxLogChunk) {
		end := min(offset+size, len(all))
		must(t, a.Logs.Append(ctx, id, int64(offset), all[offset:end]))
		offset = end
	}
	if got := must1(a.Logs.Read(ctx, id, 0, 0))(t); !bytes.Equal(got, all) {
		t.Errorf("read %d bytes, not the %d written", len(got), len(all))
	}
	for _, offset := range []int{1, 12345, 1<<20 - 1, 1 << 20, 2<<20 - 10} {
		if got := must1(a.Logs.Read(ctx, id, int64(offset), 1000))(t); !bytes.Equal(got, all[offset:min(offset+1000, len(all))]) {
			t.Errorf("a read of 1000 bytes at %d gave %d others", offset, len(got))
		}
	}
	must(t, a.Logs.Delete(ctx, id))
}

func testLogBadArguments(t *testing.T, a Adapter) {
	ctx, id := t.Context(), unique("job_")
	wantKind(t, a.Logs.Append(ctx, id, 0, make([]byte, infra.MaxLogChunk+1)), infra.ErrTooLarge)
	wantKind(t, a.Logs.Append(ctx, id, 0, nil), infra.ErrInvalid)
	wantKind(t, a.Logs.Append(ctx, id, -1, []byte("x")), infra.ErrInvalid)
	for _, c := range [][2]int{{-1, 0}, {0, -1}} {
		if _, err := a.Logs.Read(ctx, id, int64(c[0]), c[1]); infra.KindOf(err) != infra.ErrInvalid {
			t.Error(fmt.Errorf("Read(%d, %d): got %v, want invalid", c[0], c[1], err))
		}
	}
}
