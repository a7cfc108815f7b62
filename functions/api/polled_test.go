package api_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
	"github.com/lowrank/lowrank/infra/registry"
)

// counted counts the reads of records.
type counted struct {
	infra.Jobs
	gets atomic.Int32
}

func (c *counted) Get(ctx context.Context, id string) (infra.Record, error) {
	c.gets.Add(1)
	return c.Jobs.Get(ctx, id)
}

// TestPolled holds that polls between which nothing is written read nothing, and that whatever is written, by
// another process too, shows in the very next one.
func TestPolled(t *testing.T) {
	var reads *counted
	dir := t.TempDir()
	s, err := apitest.Start(dir, apitest.Options{Idle: true, Wrap: func(p infra.Ports) infra.Ports {
		reads = &counted{Jobs: p.Jobs}
		p.Jobs = reads
		return p
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	server := httptest.NewServer(s.Handler)
	defer server.Close()
	c := &apitest.Client{T: t, URL: server.URL, Token: s.Token(t, registry.DefaultOwner)}
	p := c.Draw(m{"prompt": "x"})
	path := "/v1/predictions/" + string(p.ID)
	c.Do("GET", path, nil)
	before := reads.gets.Load()
	first := c.Do("GET", path, nil)
	for range 20 {
		if again := c.Do("GET", path, nil); again.Status != 200 || string(again.Body) != string(first.Body) || again.Header.Get("Content-Type") != first.Header.Get("Content-Type") {
			t.Fatalf("%d %s, was %s", again.Status, again.Body, first.Body)
		}
	}
	if n := reads.gets.Load() - before; n > 5 { // the background may write at the beginning
		t.Errorf("%d reads for 21 polls", n)
	}

	// Other tokens, hosts and methods get their own.
	bob := &apitest.Client{T: t, URL: c.URL, Token: s.Token(t, "bob")}
	for range 2 {
		if a := bob.Do("GET", path, nil); a.Status != 404 {
			t.Errorf("bob: %d %s", a.Status, a.Body)
		}
		if a := (&apitest.Client{T: t, URL: c.URL}).Do("GET", path, nil); a.Status != 401 {
			t.Errorf("nobody: %d %s", a.Status, a.Body)
		}
		if a := c.Do("GET", "/v1/trainings/"+string(p.ID), nil); a.Status != 404 {
			t.Errorf("as a training: %d", a.Status)
		}
	}

	// A runner, which is another process with a store of its own: each of its writes shows at once.
	other, err := local.Open(t.Context(), dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	run, err := predictions.New(other.Ports()).Start(t.Context(), p.ID, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	log := ""
	for i := range 50 {
		run.Logf("line %d", i)
		log += fmt.Sprintf("line %d\n", i)
		if err := run.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		var now events.Prediction
		if c.Do("GET", path, nil).JSON(t, &now); now.Status != events.Processing || now.Logs != log {
			t.Fatalf("%s with the log %q, want %q", now.Status, now.Logs, log)
		}
	}
	if err := run.Fail(t.Context(), "No reason."); err != nil {
		t.Fatal(err)
	}
	if now := c.Prediction(200, "GET", path, nil); now.Status != events.Failed {
		t.Errorf("failed, it is %s", now.Status)
	}
	// So does a token's end.
	c.Do("GET", path, nil)
	if _, err := registry.Open(other.Ports().Documents).RevokeToken(t.Context(), c.Token); err != nil {
		t.Fatal(err)
	}
	if a := c.Do("GET", path, nil); a.Status != 401 {
		t.Errorf("with a token that was revoked: %d", a.Status)
	}
}
