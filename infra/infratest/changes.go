package infratest

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

var changeTests = []test{
	{"OldAndNew", testChangeImages},
	{"OrderAndAtLeastOnce", testChangeOrder},
	{"ConsumersAreApart", testChangeConsumers},
	{"RefusedWritesAreNone", testChangeRefused},
	{"Restart", testChangeRestart},
	{"Wait", testChangeWait},
}

// history reads and commits until n changes of the wanted records have come, and
// returns them by record. Repeats of what was committed are dropped.
func history(t *testing.T, feed infra.Changes, consumer string, n int, wanted map[string]bool) map[string][]infra.Change {
	t.Helper()
	got, seen := map[string][]infra.Change{}, map[string]bool{}
	count := 0
	eventually(t, func() string {
		batch := must1(feed.Read(t.Context(), consumer, 7, 0))(t)
		for _, c := range batch {
			if wanted[c.ID] && !seen[c.Position] {
				seen[c.Position] = true
				got[c.ID] = append(got[c.ID], c)
				count++
			}
		}
		if len(batch) > 0 {
			must(t, feed.Commit(t.Context(), consumer, batch[len(batch)-1].Position))
		}
		if count < n {
			return fmt.Sprintf("%d of %d changes came in 10 s", count, n)
		}
		return ""
	})
	return got
}

func testChangeImages(t *testing.T, a Adapter) {
	ctx := t.Context()
	r := record("alice", a.Clock.Now())
	r.DueAt, r.UploadKey = a.Clock.Now(), "uploads/x"
	one := must1(a.Jobs.Create(ctx, r))(t)
	two := one
	two.Status, two.DueAt, two.UploadKey = "succeeded", time.Time{}, ""
	two = must1(a.Jobs.Update(ctx, two))(t)
	must(t, a.Jobs.Delete(ctx, r.ID, two.Version))
	got := history(t, a.Changes, unique("c-"), 3, map[string]bool{r.ID: true})[r.ID]
	want := []struct{ old, new *infra.Record }{{nil, &one}, {&one, &two}, {&two, nil}}
	if len(got) != len(want) {
		t.Fatalf("%d changes, want %d", len(got), len(want))
	}
	for i, w := range want {
		for name, pair := range map[string][2]*infra.Record{"old": {got[i].Old, w.old}, "new": {got[i].New, w.new}} {
			if (pair[0] == nil) != (pair[1] == nil) || pair[0] != nil && !same(*pair[0], *pair[1]) {
				t.Errorf("change %d: %s image is %+v, want %+v", i, name, pair[0], pair[1])
			}
		}
	}
}

func testChangeOrder(t *testing.T, a Adapter) {
	ctx := t.Context()
	const records, updates = 4, 6
	wanted := map[string]bool{}
	var list []infra.Record
	for range records {
		r := must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t)
		wanted[r.ID] = true
		list = append(list, r)
	}
	for range updates {
		for i := range list {
			list[i] = must1(a.Jobs.Update(ctx, list[i]))(t)
		}
	}
	consumer := unique("c-")
	// Without a Commit the same changes come again, first ones first.
	var before []infra.Change
	eventually(t, func() string {
		if before = must1(a.Changes.Read(ctx, consumer, 5, 0))(t); len(before) == 0 {
			return "no change in 10 s"
		}
		return ""
	})
	again := must1(a.Other(t).Changes.Read(ctx, consumer, 5, 0))(t)
	if len(again) == 0 || again[0].Position != before[0].Position {
		t.Errorf("uncommitted changes did not come again")
	}
	for id, changes := range history(t, a.Changes, consumer, records*(1+updates), wanted) {
		for i, c := range changes {
			if c.New == nil || c.New.Version != int64(i+1) || i > 0 && (c.Old == nil || c.Old.Version != int64(i)) {
				t.Fatalf("record %s: change %d is of version %+v, want %d", id, i, c.New, i+1)
			}
		}
	}
}

func testChangeConsumers(t *testing.T, a Adapter) {
	ctx := t.Context()
	x, y := unique("x-"), unique("y-")
	for _, consumer := range []string{x, y} { // both are known from here on
		must1(a.Changes.Read(ctx, consumer, 1, 0))(t)
	}
	r := must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t)
	must1(a.Jobs.Update(ctx, r))(t)
	wanted := map[string]bool{r.ID: true}
	if got := history(t, a.Changes, x, 2, wanted)[r.ID]; len(got) != 2 {
		t.Errorf("consumer x saw %d changes, want 2", len(got))
	}
	if got := history(t, a.Changes, y, 2, wanted)[r.ID]; len(got) != 2 {
		t.Errorf("consumer y saw %d changes, want 2: x's commits took them", len(got))
	}
}

func testChangeRefused(t *testing.T, a Adapter) {
	ctx := t.Context()
	r := must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t)
	next := must1(a.Jobs.Update(ctx, r))(t)
	_, err := a.Jobs.Create(ctx, r)
	wantKind(t, err, infra.ErrExists)
	_, err = a.Jobs.Update(ctx, r)
	wantKind(t, err, infra.ErrConflict)
	wantKind(t, a.Jobs.Delete(ctx, r.ID, r.Version), infra.ErrConflict)
	must(t, a.Jobs.Delete(ctx, r.ID, next.Version))
	must(t, a.Jobs.Delete(ctx, r.ID, next.Version)) // not there: no change
	last := must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t)
	got := history(t, a.Changes, unique("c-"), 4, map[string]bool{r.ID: true, last.ID: true})
	if len(got[r.ID]) != 3 {
		t.Errorf("%d changes of the record, want 3: a refused write made one", len(got[r.ID]))
	}
}

func testChangeRestart(t *testing.T, a Adapter) {
	if a.Restart == nil {
		t.Skip("this store does not restart")
	}
	ctx, consumer := t.Context(), unique("c-")
	must1(a.Changes.Read(ctx, unique("idle-"), 1, 0))(t) // keeps what the other one commits
	r := must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t)
	for range 4 {
		r = must1(a.Jobs.Update(ctx, r))(t)
	}
	batch := must1(a.Changes.Read(ctx, consumer, 3, 0))(t)
	must(t, a.Changes.Commit(ctx, consumer, batch[1].Position))
	must(t, a.Changes.Commit(ctx, consumer, batch[0].Position)) // never back
	after := a.Restart(t)
	var versions []int64
	for _, c := range history(t, after.Changes, consumer, 3, map[string]bool{r.ID: true})[r.ID] {
		versions = append(versions, c.New.Version)
	}
	if fmt.Sprint(versions) != "[3 4 5]" {
		t.Errorf("after a restart versions %v came, want [3 4 5]: what was not committed", versions)
	}
}

func testChangeWait(t *testing.T, a Adapter) {
	consumer := unique("c-")
	history(t, a.Changes, consumer, 0, nil)
	for { // a shared store's earlier changes
		batch := must1(a.Changes.Read(t.Context(), consumer, 1000, 0))(t)
		if len(batch) == 0 {
			break
		}
		must(t, a.Changes.Commit(t.Context(), consumer, batch[len(batch)-1].Position))
	}
	got := make(chan []infra.Change, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		batch, _ := a.Changes.Read(ctx, consumer, 10, time.Minute)
		got <- batch
	}()
	r := must1(a.Other(t).Jobs.Create(t.Context(), record("alice", a.Clock.Now())))(t)
	if batch := <-got; len(batch) != 1 || batch[0].ID != r.ID || !json.Valid(batch[0].New.Payload) {
		t.Errorf("the waiting reader got %+v, want the record's creation", batch)
	}
}
