package infratest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

var documentTests = []test{
	{"PutGetDelete", testDocumentLife},
	{"Conflicts", testDocumentConflicts},
	{"ConcurrentCreate", testDocumentConcurrentCreate},
	{"List", testDocumentList},
	{"BadArguments", testDocumentBadArguments},
}

var eventTests = []test{{"Publish", testEventPublish}}

func document(collection, key, value string, version int64) infra.Document {
	return infra.Document{Collection: collection, Key: key, Version: version, Value: json.RawMessage(value)}
}

func testDocumentLife(t *testing.T, a Adapter) {
	ctx, c := t.Context(), unique("c/")
	for name, key := range map[string]string{"Plain": "key", "Any": "é/写 \x00\n🖼//..", "Long": strings.Repeat("k", infra.MaxKey)} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Documents.Get(ctx, c, key)
			wantKind(t, err, infra.ErrNotFound)
			first := must1(a.Documents.Put(ctx, document(c, key, `{"a":1}`, 0)))(t)
			if first.Version <= 0 {
				t.Errorf("version %d, want above 0", first.Version)
			}
			got := must1(a.Other(t).Documents.Get(ctx, c, key))(t)
			if got.Collection != c || got.Key != key || got.Version != first.Version || string(got.Value) != `{"a":1}` {
				t.Errorf("got %+v, want what was put", got)
			}
			second := must1(a.Documents.Put(ctx, document(c, key, `{"a":2}`, first.Version)))(t)
			third := must1(a.Documents.Put(ctx, document(c, key, `{"a":3}`, infra.AnyVersion)))(t)
			if first.Version == second.Version || second.Version == third.Version || first.Version == third.Version {
				t.Errorf("versions %d, %d, %d: one repeats", first.Version, second.Version, third.Version)
			}
			if got := must1(a.Documents.Get(ctx, c, key))(t); string(got.Value) != `{"a":3}` || got.Version != third.Version {
				t.Errorf("got %+v, want the third", got)
			}
			for range 2 {
				must(t, a.Documents.Delete(ctx, c, key, third.Version))
			}
			_, err = a.Documents.Get(ctx, c, key)
			wantKind(t, err, infra.ErrNotFound)
			must1(a.Documents.Put(ctx, document(c, key, `"`+strings.Repeat("x", infra.MaxPayload-2)+`"`, infra.AnyVersion)))(t)
			must(t, a.Documents.Delete(ctx, c, key, infra.AnyVersion))
		})
	}
}

func testDocumentConflicts(t *testing.T, a Adapter) {
	ctx, c := t.Context(), unique("c/")
	_, err := a.Documents.Put(ctx, document(c, "k", "1", 5))
	wantKind(t, err, infra.ErrConflict)
	first := must1(a.Documents.Put(ctx, document(c, "k", "1", 0)))(t)
	_, err = a.Documents.Put(ctx, document(c, "k", "2", 0))
	wantKind(t, err, infra.ErrConflict)
	second := must1(a.Documents.Put(ctx, document(c, "k", "2", first.Version)))(t)
	_, err = a.Documents.Put(ctx, document(c, "k", "3", first.Version))
	wantKind(t, err, infra.ErrConflict)
	wantKind(t, a.Documents.Delete(ctx, c, "k", first.Version), infra.ErrConflict)
	if got := must1(a.Documents.Get(ctx, c, "k"))(t); string(got.Value) != "2" || got.Version != second.Version {
		t.Errorf("got %+v, want the second", got)
	}
}

func testDocumentConcurrentCreate(t *testing.T, a Adapter) {
	ctx, c := t.Context(), unique("c/")
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { _, errs[i] = a.Documents.Put(ctx, document(c, "k", fmt.Sprint(i), 0)) })
	}
	wg.Wait()
	winner := slices.IndexFunc(errs, func(err error) bool { return err == nil })
	for i, err := range errs {
		if i != winner {
			wantKind(t, err, infra.ErrConflict)
		}
	}
	if got := must1(a.Documents.Get(ctx, c, "k"))(t); string(got.Value) != fmt.Sprint(winner) {
		t.Errorf("writer %d won, but %s is stored", winner, got.Value)
	}
}

func testDocumentList(t *testing.T, a Adapter) {
	ctx, c := t.Context(), unique("c/")
	var want []string
	for _, key := range []string{"p/b", "p/a", "p/B", "p/é", "p/写", "p/\x00", "p/zz"} {
		must1(a.Documents.Put(ctx, document(c, key, `1`, 0)))(t)
		want = append(want, key)
	}
	for _, key := range []string{"o", "p", "q/a"} {
		must1(a.Documents.Put(ctx, document(c, key, `1`, 0)))(t)
	}
	must1(a.Documents.Put(ctx, document(c+"2", "p/x", `1`, 0)))(t)
	slices.Sort(want)
	for name, reverse := range map[string]bool{"Forward": false, "Reverse": true} {
		t.Run(name, func(t *testing.T) {
			want := slices.Clone(want)
			if reverse {
				slices.Reverse(want)
			}
			var got []string
			for o := (infra.ListOptions{Limit: 3, Reverse: reverse}); ; {
				page := must1(a.Documents.List(ctx, c, "p/", o))(t)
				for _, d := range page.Items {
					got = append(got, d.Key)
					if d.Collection != c || d.Version <= 0 || string(d.Value) != "1" {
						t.Errorf("listed as %+v", d)
					}
				}
				if o.Cursor = page.Next; o.Cursor == "" {
					break
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
	if page := must1(a.Documents.List(ctx, c, "", infra.ListOptions{}))(t); len(page.Items) != len(want)+3 {
		t.Errorf("the whole collection lists %d, want %d", len(page.Items), len(want)+3)
	}
	_, err := a.Documents.List(ctx, c, "p/", infra.ListOptions{Cursor: "%%"})
	wantKind(t, err, infra.ErrInvalid)
}

func testDocumentBadArguments(t *testing.T, a Adapter) {
	for name, c := range map[string]struct {
		d    infra.Document
		kind infra.Kind
	}{
		"ErrNoCollection":   {document("", "k", "1", 0), infra.ErrInvalid},
		"ErrLongCollection": {document(strings.Repeat("c", infra.MaxCollection+1), "k", "1", 0), infra.ErrInvalid},
		"ErrNoKey":          {document("c", "", "1", 0), infra.ErrInvalid},
		"ErrLongKey":        {document("c", strings.Repeat("k", infra.MaxKey+1), "1", 0), infra.ErrInvalid},
		"ErrNotUTF8":        {document("c", "\xff", "1", 0), infra.ErrInvalid},
		"ErrNotJSON":        {document("c", "k", "{", 0), infra.ErrInvalid},
		"ErrTooLarge":       {document("c", "k", `"`+strings.Repeat("x", infra.MaxPayload)+`"`, 0), infra.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := a.Documents.Put(t.Context(), c.d)
			wantKind(t, err, c.kind)
		})
	}
}

func testEventPublish(t *testing.T, a Adapter) {
	good := infra.Event{ID: unique("e-"), Source: "lowrank", Type: "lowrank.output.created", Time: time.Now(), Detail: json.RawMessage(`{"id":"x"}`)}
	for range 2 {
		must(t, a.Events.Publish(t.Context(), good))
	}
	for name, c := range map[string]struct {
		change func(e *infra.Event)
		kind   infra.Kind
	}{
		"ErrNoType":   {func(e *infra.Event) { e.Type = "" }, infra.ErrInvalid},
		"ErrNotJSON":  {func(e *infra.Event) { e.Detail = json.RawMessage("{") }, infra.ErrInvalid},
		"ErrTooLarge": {func(e *infra.Event) { e.Detail = fmt.Appendf(nil, "%q", strings.Repeat("x", 256<<10)) }, infra.ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			e := good
			c.change(&e)
			wantKind(t, a.Events.Publish(t.Context(), e), c.kind)
		})
	}
}
