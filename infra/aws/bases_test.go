package aws_test

import (
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra/bases"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// TestBases brings a base model to a bucket and from there to a runner on a bad
// day: sent once, fetched in pieces at once over connections that break, checked,
// kept.
func TestBases(t *testing.T) {
	sdk, root := startEmulator(t)
	proxy := newFaultProxy(t, *root.BaseEndpoint, 11)
	through := sdk.Copy()
	through.BaseEndpoint = aws.String(proxy.URL)
	ports := lowrankaws.New(through, makeResources(t, root)).Ports()
	store := bases.Store{Blobs: ports.Blobs, Docs: ports.Documents}

	weights := make([]byte, 100<<20) // four pieces
	_, _ = rand.NewChaCha8([32]byte{2}).Read(weights)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors"), weights, 0o600); err != nil {
		t.Fatal(err)
	}
	var stored [2]string // the pieces with their generations
	for i := range stored {
		if err := store.Add(t.Context(), events.BaseLimits{Name: "sd"}, dir, false, nil); err != nil {
			t.Fatal(err)
		}
		page, err := ports.Blobs.List(t.Context(), "bases/", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, blob := range page.Items {
			stored[i] += blob.Key + " " + blob.Generation + "\n"
		}
	}
	if stored[0] != stored[1] || strings.Count(stored[0], "\n") != 4 {
		t.Errorf("adding it again changed what is stored from\n%sto\n%s", stored[0], stored[1])
	}

	cache := t.TempDir()
	fetched := 0
	for range 2 {
		path, err := store.Fetch(t.Context(), "sd", cache)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(path, "model.safetensors"))
		if err != nil || sha256.Sum256(got) != sha256.Sum256(weights) {
			t.Fatalf("%d bytes came of %d: %v", len(got), len(weights), err)
		}
		if fetched > 0 && proxy.fetches != fetched {
			t.Errorf("what lies in the cache was fetched again: %d requests more", proxy.fetches-fetched)
		}
		fetched = proxy.fetches
	}
	if proxy.mostInFlight < 2 || fetched < 8 {
		t.Errorf("%d requests, %d at once; want two a piece, for each first answer is cut, and several pieces at once", fetched, proxy.mostInFlight)
	}
	t.Logf("%d requests, %d at once", fetched, proxy.mostInFlight)
}
