package infratest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

var indexTests = []test{
	{"List", testIndexList},
	{"CursorStableUnderInserts", testIndexCursor},
	{"CountOpen", testIndexCountOpen},
	{"ByUpload", testIndexByUpload},
	{"Due", testIndexDue},
	{"BadCursor", testIndexBadCursor},
}

func ids(records []infra.Record) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.ID)
	}
	return all
}

func testIndexList(t *testing.T, a Adapter) {
	ctx, start := t.Context(), a.Clock.Now()
	alice, bob := unique("alice-"), unique("bob-")
	var all, trainings []string
	for i := range 7 {
		// Three share each moment, so the ID decides among them.
		r := record(alice, start.Add(time.Duration(i/3)*time.Microsecond))
		if i%2 == 1 {
			r.Kind = "training"
			trainings = append(trainings, "")
		}
		must1(a.Jobs.Create(ctx, r))(t)
		must1(a.Jobs.Create(ctx, record(bob, start)))(t)
	}
	eventually(t, func() string {
		page := must1(a.Index.List(ctx, alice, "", "", 0))(t)
		if all = ids(page.Items); len(all) != 7 || page.Next != "" {
			return fmt.Sprintf("alice's list has %d records and next %q, want 7 and none", len(all), page.Next)
		}
		sorted := slices.IsSortedFunc(page.Items, func(x, y infra.Record) int {
			if c := y.CreatedAt.Compare(x.CreatedAt); c != 0 {
				return c
			}
			if x.ID > y.ID {
				return -1
			}
			return 1
		})
		if !sorted {
			return fmt.Sprintf("not newest first: %v", all)
		}
		if got := must1(a.Index.List(ctx, alice, "training", "", 0))(t); len(got.Items) != len(trainings) {
			return fmt.Sprintf("%d trainings, want %d", len(got.Items), len(trainings))
		}
		return ""
	})
	full := must1(a.Index.List(ctx, alice, "", "", 1))(t).Items[0]
	wantRecord(t, full, must1(a.Jobs.Get(ctx, full.ID))(t))
	if page := must1(a.Index.List(ctx, unique("nobody-"), "", "", 0))(t); len(page.Items) != 0 || page.Next != "" {
		t.Errorf("nobody's list is %+v", page)
	}
}

func testIndexCursor(t *testing.T, a Adapter) {
	ctx, start := t.Context(), a.Clock.Now()
	owner := unique("alice-")
	var want []string
	for i := range 3 {
		// Three share each moment, so that a cursor stands between equals.
		var moment []string
		for range 3 {
			moment = append(moment, must1(a.Jobs.Create(ctx, record(owner, start.Add(time.Duration(i)*time.Second))))(t).ID)
		}
		slices.Sort(moment)
		want = append(want, moment...)
	}
	slices.Reverse(want)
	eventually(t, func() string {
		if n := len(must1(a.Index.List(ctx, owner, "", "", 0))(t).Items); n != 9 {
			return fmt.Sprintf("%d of 9 records are listed", n)
		}
		return ""
	})
	var got []string
	for cursor, i := "", 0; ; i++ {
		page := must1(a.Index.List(ctx, owner, "", cursor, 2))(t)
		got = append(got, ids(page.Items)...)
		if cursor = page.Next; cursor == "" {
			break
		}
		must1(a.Jobs.Create(ctx, record(owner, start.Add(time.Hour+time.Duration(i)*time.Second))))(t)
		if i == 1 { // the record the cursor stands on goes away
			must(t, a.Jobs.Delete(ctx, got[len(got)-1], infra.AnyVersion))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("pages gave %v, want %v: inserts and deletes shifted them", got, want)
	}
}

func testIndexCountOpen(t *testing.T, a Adapter) {
	ctx, owner := t.Context(), unique("alice-")
	var last infra.Record
	for range 4 {
		last = must1(a.Jobs.Create(ctx, record(owner, a.Clock.Now())))(t)
	}
	must1(a.Jobs.Create(ctx, record(unique("bob-"), a.Clock.Now())))(t)
	last.Open = false
	must1(a.Jobs.Update(ctx, last))(t)
	wantCount := func(want int) {
		t.Helper()
		eventually(t, func() string {
			if n := must1(a.Index.CountOpen(ctx, owner))(t); n != want {
				return fmt.Sprintf("%d open records, want %d", n, want)
			}
			return ""
		})
	}
	wantCount(3)
	page := must1(a.Index.List(ctx, owner, "", "", 0))(t)
	for _, r := range page.Items {
		must(t, a.Jobs.Delete(ctx, r.ID, infra.AnyVersion))
	}
	wantCount(0)
}

func testIndexByUpload(t *testing.T, a Adapter) {
	ctx, key := t.Context(), unique("uploads/é ")+"/a.zip"
	wantIDs := func(want ...string) {
		t.Helper()
		eventually(t, func() string {
			if got := ids(must1(a.Index.ByUpload(ctx, key))(t)); !slices.Equal(got, want) {
				return fmt.Sprintf("records waiting for the upload: %v, want %v", got, want)
			}
			return ""
		})
	}
	must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t) // waits for none
	r := record("alice", a.Clock.Now())
	r.UploadKey = key
	r = must1(a.Jobs.Create(ctx, r))(t)
	wantIDs(r.ID)
	if got := must1(a.Index.ByUpload(ctx, ""))(t); len(got) > 0 {
		t.Errorf("no key found %v", ids(got))
	}
	r.UploadKey = ""
	must1(a.Jobs.Update(ctx, r))(t)
	wantIDs()
}

func testIndexDue(t *testing.T, a Adapter) {
	ctx := t.Context()
	// A time of its own, so that a shared store's other records are not seen.
	start := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC)
	var want []string
	for i := range 5 {
		r := record("alice", a.Clock.Now())
		r.DueAt = start.Add(time.Duration(max(i, 2)) * time.Minute) // three at once
		must1(a.Jobs.Create(ctx, r))(t)
		want = append(want, r.ID)
	}
	slices.Sort(want[:3])
	must1(a.Jobs.Create(ctx, record("alice", a.Clock.Now())))(t) // never due
	due := func() (got []string) {
		for cursor := ""; ; {
			page := must1(a.Index.Due(ctx, start.Add(3*time.Minute), cursor, 2))(t)
			got = append(got, ids(page.Items)...)
			if cursor = page.Next; cursor == "" {
				slices.Sort(got[:min(3, len(got))]) // equals come in any order
				return got
			}
		}
	}
	eventually(t, func() string {
		if got := due(); !slices.Equal(got, want[:4]) {
			return fmt.Sprintf("due are %v, want %v", got, want[:4])
		}
		return ""
	})
	// Looked at, one gets a later time, one none at all, and one is gone.
	r := must1(a.Jobs.Get(ctx, want[0]))(t)
	r.DueAt = start.Add(time.Hour)
	must1(a.Jobs.Update(ctx, r))(t)
	r = must1(a.Jobs.Get(ctx, want[1]))(t)
	r.DueAt = time.Time{}
	must1(a.Jobs.Update(ctx, r))(t)
	must(t, a.Jobs.Delete(ctx, want[2], infra.AnyVersion))
	eventually(t, func() string {
		if got := due(); !slices.Equal(got, want[3:4]) {
			return fmt.Sprintf("due are %v, want %v", got, want[3:4])
		}
		return ""
	})
	must(t, a.Jobs.Delete(ctx, want[3], infra.AnyVersion))
	must(t, a.Jobs.Delete(ctx, want[4], infra.AnyVersion))
	must(t, a.Jobs.Delete(ctx, want[0], infra.AnyVersion))
}

func testIndexBadCursor(t *testing.T, a Adapter) {
	ctx := t.Context()
	owner := unique("alice-")
	for range 2 {
		must1(a.Jobs.Create(ctx, record(owner, a.Clock.Now())))(t)
	}
	var others string
	eventually(t, func() string {
		if others = must1(a.Index.List(ctx, owner, "", "", 1))(t).Next; others == "" {
			return "no second page"
		}
		return ""
	})
	for name, cursor := range map[string]string{"Garbage": "%%%", "NotOurs": "AAAA", "OfAnotherList": others} {
		t.Run("Err"+name, func(t *testing.T) {
			_, err := a.Index.List(ctx, unique("bob-"), "", cursor, 1)
			wantKind(t, err, infra.ErrInvalid)
			_, err = a.Index.Due(ctx, a.Clock.Now(), cursor, 1)
			wantKind(t, err, infra.ErrInvalid)
		})
	}
}
