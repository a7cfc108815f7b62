package aws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// TestLostAnswers loses the first answer of every conditional write. The SDK's
// second try finds what the first one wrote: that is no conflict. One with what
// another caller wrote still is.
func TestLostAnswers(t *testing.T) {
	sdk, root := startEmulator(t)
	target, err := url.Parse(*root.BaseEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host
	}}
	var mu sync.Mutex
	seen := map[string]int{} // by the SDK's mark of a call, the same on each of its tries
	lost := 0
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		mu.Lock()
		id := r.Header.Get("Amz-Sdk-Invocation-Id")
		seen[id]++
		lose := seen[id] == 1 && strings.Contains(string(body), "ConditionExpression")
		if lose {
			lost++
		}
		mu.Unlock()
		if lose {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		pass.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	c := makeResources(t, root)
	sdk.BaseEndpoint = &proxy.URL
	p := lowrankaws.New(sdk, c).Ports()

	r, err := p.Jobs.Create(t.Context(), infra.Record{ID: "job", Owner: "alice", Kind: "prediction", Status: "starting", CreatedAt: time.Now(), Payload: json.RawMessage("1")})
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if _, err := p.Jobs.Create(t.Context(), r); !errors.Is(err, infra.ErrExists) {
		t.Errorf("create again: got %v, want that it exists", err)
	}
	next, err := p.Jobs.Update(t.Context(), r)
	if err != nil || next.Version != r.Version+1 {
		t.Errorf("update: got %v at version %d", err, next.Version)
	}
	if _, err := p.Jobs.Update(t.Context(), r); !errors.Is(err, infra.ErrConflict) {
		t.Errorf("update of an old version: got %v, want a conflict", err)
	}
	d, err := p.Documents.Put(t.Context(), infra.Document{Collection: "c", Key: "k", Value: json.RawMessage(`"v"`)})
	if err != nil || d.Version != 1 || string(d.Value) != `"v"` {
		t.Errorf("put: got %+v, %v", d, err)
	}
	if _, err := p.Documents.Put(t.Context(), infra.Document{Collection: "c", Key: "k", Value: json.RawMessage("2")}); !errors.Is(err, infra.ErrConflict) {
		t.Errorf("put of a document that is there: got %v, want a conflict", err)
	}
	if lost != 6 {
		t.Errorf("%d answers were lost, want 6", lost)
	}
}
