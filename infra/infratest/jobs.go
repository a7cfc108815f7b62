package infratest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

var jobTests = []test{
	{"CreateGetUpdateDelete", testJobLife},
	{"Conflicts", testJobConflicts},
	{"ConcurrentWriters", testJobConcurrentWriters},
	{"BadArguments", testJobBadArguments},
	{"Restart", testJobRestart},
}

// record is one that can be created, owned by nobody else.
func record(owner string, created time.Time) infra.Record {
	return infra.Record{ID: unique("job_"), Owner: owner, Kind: "prediction", CreatedAt: created, Status: "starting",
		Open: true, Payload: json.RawMessage(`{"input":{"prompt":"é <1> 写"},"n":12345678901234567}`)}
}

// same compares records but for the spelling of their JSON.
func same(a, b infra.Record) bool {
	var av, bv any
	if json.Unmarshal(a.Payload, &av) != nil || json.Unmarshal(b.Payload, &bv) != nil || !reflect.DeepEqual(av, bv) {
		return false
	}
	times := a.CreatedAt.Equal(b.CreatedAt) && a.DueAt.Equal(b.DueAt) && a.DueAt.IsZero() == b.DueAt.IsZero()
	a.Payload, a.CreatedAt, a.DueAt = nil, time.Time{}, time.Time{}
	b.Payload, b.CreatedAt, b.DueAt = nil, time.Time{}, time.Time{}
	return times && reflect.DeepEqual(a, b)
}

func wantRecord(t *testing.T, got, want infra.Record) {
	t.Helper()
	if !same(got, want) {
		t.Fatalf("got record\n%+v\nwant\n%+v", got, want)
	}
}

func testJobLife(t *testing.T, a Adapter) {
	ctx := t.Context()
	r := record("alice", a.Clock.Now())
	r.Version = 7 // is ignored
	r.UploadKey, r.DueAt = "uploads/x/é.zip", a.Clock.Now().Add(time.Hour+123456789)
	created := must1(a.Jobs.Create(ctx, r))(t)
	want := r
	want.Version, want.CreatedAt, want.DueAt = 1, r.CreatedAt.Truncate(time.Microsecond), r.DueAt.Truncate(time.Millisecond)
	wantRecord(t, created, want)
	wantRecord(t, must1(a.Other(t).Jobs.Get(ctx, r.ID))(t), want)

	next := created
	next.Status, next.Open, next.UploadKey, next.DueAt, next.Payload = "succeeded", false, "", time.Time{}, json.RawMessage(`{"output":"x"}`)
	updated := must1(a.Jobs.Update(ctx, next))(t)
	next.Version = 2
	wantRecord(t, updated, next)
	wantRecord(t, must1(a.Jobs.Get(ctx, r.ID))(t), next)

	big := updated
	big.Payload = json.RawMessage(`"` + strings.Repeat("x", infra.MaxPayload-2) + `"`)
	big = must1(a.Jobs.Update(ctx, big))(t)
	wantRecord(t, must1(a.Jobs.Get(ctx, r.ID))(t), big)

	must(t, a.Jobs.Delete(ctx, r.ID, big.Version))
	must(t, a.Jobs.Delete(ctx, r.ID, big.Version))
	_, err := a.Jobs.Get(ctx, r.ID)
	wantKind(t, err, infra.ErrNotFound)
	_, err = a.Jobs.Update(ctx, big)
	wantKind(t, err, infra.ErrNotFound)
}

func testJobConflicts(t *testing.T, a Adapter) {
	ctx := t.Context()
	r := must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t)
	again := r
	again.Payload = json.RawMessage(`"another"`)
	_, err := a.Jobs.Create(ctx, again)
	wantKind(t, err, infra.ErrExists)
	wantRecord(t, must1(a.Jobs.Get(ctx, r.ID))(t), r)

	mine, theirs := r, r
	mine.Status, theirs.Status = "mine", "theirs"
	mine = must1(a.Jobs.Update(ctx, mine))(t)
	_, err = a.Other(t).Jobs.Update(ctx, theirs)
	wantKind(t, err, infra.ErrConflict)
	if infra.Retryable(err) {
		t.Error("a conflict counts as retryable: the same write would never succeed")
	}
	wantKind(t, a.Jobs.Delete(ctx, r.ID, r.Version), infra.ErrConflict)
	wantRecord(t, must1(a.Jobs.Get(ctx, r.ID))(t), mine)
	must(t, a.Jobs.Delete(ctx, r.ID, infra.AnyVersion))
	must(t, a.Jobs.Delete(ctx, unique("never_"), infra.AnyVersion))
}

// Read, decide, write on condition, again on conflict: no increment may be lost.
func testJobConcurrentWriters(t *testing.T, a Adapter) {
	ctx := t.Context()
	r := record("alice", a.Clock.Now())
	r.Payload = json.RawMessage("0")
	must1(a.Jobs.Create(ctx, r))(t)
	const writers, rounds = 6, 8
	var wg sync.WaitGroup
	for i := range writers {
		jobs := []infra.Jobs{a.Jobs, a.Other(t).Jobs}[i%2]
		wg.Go(func() {
			for done := 0; done < rounds; {
				now, err := jobs.Get(ctx, r.ID)
				if err != nil {
					t.Error(err)
					return
				}
				var n int
				json.Unmarshal(now.Payload, &n)
				now.Payload = fmt.Append(nil, n+1)
				switch _, err = jobs.Update(ctx, now); infra.KindOf(err) {
				case "":
					done++
				case infra.ErrConflict, infra.ErrUnavailable:
				default:
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	got := must1(a.Jobs.Get(ctx, r.ID))(t)
	if string(got.Payload) != fmt.Sprint(writers*rounds) || got.Version != 1+writers*rounds {
		t.Errorf("payload %s at version %d, want %d at %d", got.Payload, got.Version, writers*rounds, 1+writers*rounds)
	}
}

func testJobBadArguments(t *testing.T, a Adapter) {
	good := record("alice", a.Clock.Now())
	for name, c := range map[string]struct {
		change func(r *infra.Record)
		kind   infra.Kind
	}{
		"ErrNoID":         {func(r *infra.Record) { r.ID = "" }, infra.ErrInvalid},
		"ErrID":           {func(r *infra.Record) { r.ID = "a/b" }, infra.ErrInvalid},
		"ErrLongID":       {func(r *infra.Record) { r.ID = strings.Repeat("a", infra.MaxID+1) }, infra.ErrInvalid},
		"ErrNoOwner":      {func(r *infra.Record) { r.Owner = "" }, infra.ErrInvalid},
		"ErrNoKind":       {func(r *infra.Record) { r.Kind = "" }, infra.ErrInvalid},
		"ErrNoTime":       {func(r *infra.Record) { r.CreatedAt = time.Time{} }, infra.ErrInvalid},
		"ErrNotJSON":      {func(r *infra.Record) { r.Payload = json.RawMessage("{") }, infra.ErrInvalid},
		"ErrLongKey":      {func(r *infra.Record) { r.UploadKey = strings.Repeat("k", infra.MaxKey+1) }, infra.ErrInvalid},
		"ErrPayloadLarge": {func(r *infra.Record) { r.Payload = fmt.Appendf(nil, "%q", make([]byte, infra.MaxPayload)) }, infra.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r := good
			c.change(&r)
			_, err := a.Jobs.Create(t.Context(), r)
			wantKind(t, err, c.kind)
		})
	}
	stored := must1(a.Jobs.Create(t.Context(), good))(t)
	for name, change := range map[string]func(r *infra.Record){
		"ErrOwnerChanged": func(r *infra.Record) { r.Owner = "mallory" },
		"ErrKindChanged":  func(r *infra.Record) { r.Kind = "training" },
		"ErrTimeChanged":  func(r *infra.Record) { r.CreatedAt = r.CreatedAt.Add(time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			r := stored
			change(&r)
			_, err := a.Jobs.Update(t.Context(), r)
			wantKind(t, err, infra.ErrInvalid)
			wantRecord(t, must1(a.Jobs.Get(t.Context(), r.ID))(t), stored)
		})
	}
}

func testJobRestart(t *testing.T, a Adapter) {
	if a.Restart == nil {
		t.Skip("this store does not restart")
	}
	r := must1(a.Jobs.Create(t.Context(), record("alice", a.Clock.Now())))(t)
	blob := put(t, a.Blobs, unique("tests/restart-"), "kept")
	u := presign(t, a, unique("uploads/")+"/after.zip")
	after := a.Restart(t)
	wantRecord(t, must1(after.Jobs.Get(t.Context(), r.ID))(t), r)
	if got := get(t, after.Blobs, blob.Key, infra.GetOptions{Generation: blob.Generation}); got != "kept" {
		t.Errorf("after restart the blob reads %q", got)
	}
	if code := send(t, a, "PUT", u, strings.NewReader("zip")); code/100 != 2 {
		t.Errorf("a URL made before the restart answered %d, want 2xx", code)
	}
}
