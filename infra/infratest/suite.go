package infratest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// Adapter is what Run needs of an adapter: a store that no other test uses.
type Adapter struct {
	infra.Ports

	// Advance lets d pass for the adapter; nil: the suite sleeps.
	Advance func(d time.Duration)

	// Other is another process's view of the same store; nil: the same Ports.
	Other func(t *testing.T) infra.Ports

	// Restart ends all views and opens the store again, as after kill -9; nil
	// where the store is a service that does not restart.
	Restart func(t *testing.T) infra.Ports

	// Client sends presigned PUTs; nil is http.DefaultClient.
	Client *http.Client

	// SizeNotSigned: the store's presigned URLs cannot limit the body's size (S3).
	SizeNotSigned bool
}

// Run checks every port of the adapter that open returns. Each subtest opens its own.
func Run(t *testing.T, open func(t *testing.T) Adapter) {
	groups := []struct {
		name  string
		tests []test
	}{
		{"Blobs", blobTests},
		{"Presigner", presignTests},
		{"Queue", queueTests},
		{"Jobs", jobTests},
		{"JobIndex", indexTests},
		{"Logs", logTests},
		{"Changes", changeTests},
		{"Documents", documentTests},
		{"EventBus", eventTests},
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, one := range g.tests {
				t.Run(one.name, func(t *testing.T) { one.run(t, fill(open(t))) })
			}
		})
	}
}

// test is one promise of a port.
type test struct {
	name string
	run  func(t *testing.T, a Adapter)
}

func fill(a Adapter) Adapter {
	if a.Advance == nil {
		a.Advance = time.Sleep
	}
	if a.Other == nil {
		ports := a.Ports
		a.Other = func(*testing.T) infra.Ports { return ports }
	}
	if a.Client == nil {
		a.Client = http.DefaultClient
	}
	return a
}

// must ends the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must1 is must for a call with a result.
func must1[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		must(t, err)
		return v
	}
}

// wantKind fails the test unless err is of the kind.
func wantKind(t *testing.T, err error, kind infra.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %q", err, string(kind))
	}
}

// eventually calls check until it says "" or 90 s have passed, for reads that may lag: what a look took whose answer was
// lost comes back within a minute.
func eventually(t *testing.T, check func() string) {
	t.Helper()
	var last string
	for deadline := time.Now().Add(90 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if last = check(); last == "" {
			return
		}
	}
	t.Fatal(last)
}

// unique makes a name that no other run of the suite used on a shared store.
func unique(prefix string) string {
	b := make([]byte, 8)
	rand.Read(b)
	return prefix + hex.EncodeToString(b)
}

// receive polls until n messages have come, or 10 s have passed.
func receive(t *testing.T, q infra.Queue, n int, visibility time.Duration) []infra.Message {
	t.Helper()
	var got []infra.Message
	eventually(t, func() string {
		got = append(got, must1(q.Receive(t.Context(), min(n-len(got), infra.MaxBatch), 0, visibility))(t)...)
		if len(got) < n {
			return "a message did not come in 10 s"
		}
		return ""
	})
	return got
}

// none checks that nothing can be received now.
func none(t *testing.T, q infra.Queue) {
	t.Helper()
	if got := must1(q.Receive(t.Context(), infra.MaxBatch, 0, time.Minute))(t); len(got) > 0 {
		t.Fatalf("received %s, want nothing", got[0].Body)
	}
}

// waiting runs call, which waits on the adapter's clock, letting time pass meanwhile.
func waiting[T any](t *testing.T, a Adapter, call func(ctx context.Context) (T, error)) T {
	t.Helper()
	type result struct {
		v   T
		err error
	}
	done := make(chan result, 1)
	go func() {
		v, err := call(t.Context())
		done <- result{v, err}
	}()
	for range 1000 {
		select {
		case r := <-done:
			must(t, r.err)
			return r.v
		default:
			a.Advance(100 * time.Millisecond)
			time.Sleep(time.Millisecond)
		}
	}
	t.Fatal("the call did not return after 100 s of the adapter's time")
	panic("unreachable")
}

// required says whether LOWRANK_REQUIRE names the feature, so that its skip is a failure.
func required(feature string) bool {
	for name := range strings.SplitSeq(os.Getenv("LOWRANK_REQUIRE"), ",") {
		if name == feature {
			return true
		}
	}
	return false
}

// pattern is n bytes that differ from place to place.
func pattern(n int) []byte {
	return bytes.Repeat([]byte("0123456789abcdefghijklmnopqrstuvwxyz\n"), n/37+1)[:n]
}
