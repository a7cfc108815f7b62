package api

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestPerOwner(t *testing.T) {
	p := perOwner{each: 2}
	ctx := t.Context()
	var frees []func()
	for range 2 {
		free, err := p.take(ctx, "me")
		if err != nil {
			t.Fatal(err)
		}
		frees = append(frees, free)
	}
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := p.take(short, "me"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a third place: %v", err)
	}
	free, err := p.take(ctx, "bob")
	if err != nil {
		t.Fatalf("another owner: %v", err)
	}
	free()
	waiting := make(chan func())
	go func() {
		free, _ := p.take(ctx, "me")
		waiting <- free
	}()
	frees[0]()
	(<-waiting)()
	frees[1]()
	if len(p.owners) != 0 {
		t.Errorf("%d owners are kept", len(p.owners))
	}
}
