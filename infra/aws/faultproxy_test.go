package aws_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// faultProxy stands before the emulator and does what AWS does on a bad day:
// throttles, answers 500 before and after it acted, delivers messages twice and out
// of order, forgets that they were deleted, is slow to take files.
type faultProxy struct {
	URL string

	mu     sync.Mutex
	chance *rand.Rand
	off    bool
	counts map[string]int

	fetches, inFlight, mostInFlight int // of base models' files
}

func newFaultProxy(t *testing.T, target string, seed uint64) *faultProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	p := &faultProxy{chance: rand.New(rand.NewPCG(seed, 0)), counts: map[string]int{}}
	// The signature holds the host that was asked for, so it goes on as it is.
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(u)
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // receivers that are told to stop
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, pass) }))
	t.Cleanup(server.Close)
	p.URL = server.URL
	return p
}

// happens draws whether a fault happens, and counts it.
func (p *faultProxy) happens(name string, probability float64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.off || p.chance.Float64() >= probability {
		return false
	}
	p.counts[name]++
	return true
}

func (p *faultProxy) pause(most time.Duration) {
	p.mu.Lock()
	d := time.Duration(p.chance.Int64N(int64(most)))
	p.mu.Unlock()
	time.Sleep(d)
}

func (p *faultProxy) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.off = true
}

func (p *faultProxy) serve(w http.ResponseWriter, r *http.Request, next http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	again := func(w http.ResponseWriter) {
		r2 := r.Clone(r.Context())
		r2.Body, r2.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		next.ServeHTTP(w, r2)
	}
	target := r.Header.Get("X-Amz-Target")
	service, action, _ := strings.Cut(target, ".")
	switch {
	case p.happens("throttled", 0.03):
		throttle(w, service)
		return
	case p.happens("500 before", 0.02):
		w.WriteHeader(http.StatusInternalServerError)
		return
	case p.happens("500 after", 0.02): // it took effect, the answer is lost
		again(httptest.NewRecorder())
		w.WriteHeader(http.StatusInternalServerError)
		return
	case action == "SendMessage" && p.happens("delivered twice", 0.1):
		again(httptest.NewRecorder())
	case action == "DeleteMessage" && p.happens("deletion forgotten", 0.1):
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		io.WriteString(w, "{}")
		return
	case target == "" && r.Method == http.MethodPut && p.happens("slow put", 0.1):
		p.pause(400 * time.Millisecond)
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/bases/"):
		defer p.fetching()()
		if p.first(r.URL.Path) {
			cut(w, again)
			return
		}
	}
	if action == "SendMessage" {
		p.pause(40 * time.Millisecond) // changes places with others
	}
	again(w)
}

// fetching counts how many fetches of base models' files there are, and how many
// at once, until what it returns is called.
func (p *faultProxy) fetching() func() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fetches++
	p.inFlight++
	p.mostInFlight = max(p.mostInFlight, p.inFlight)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.inFlight--
	}
}

// first reports whether this is the first fetch of a path.
func (p *faultProxy) first(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.counts["answer cut: "+path] > 0 {
		return false
	}
	p.counts["answer cut: "+path]++
	return true
}

// cut sends half of the answer and breaks the connection.
func cut(w http.ResponseWriter, answer func(http.ResponseWriter)) {
	whole := httptest.NewRecorder()
	answer(whole)
	for name, values := range whole.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(whole.Code)
	_, _ = w.Write(whole.Body.Bytes()[:whole.Body.Len()/2]) // the client may be gone
	panic(http.ErrAbortHandler)
}

// throttle answers as each service says that it is asked too much.
func throttle(w http.ResponseWriter, service string) {
	switch {
	case strings.HasPrefix(service, "DynamoDB"):
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusBadRequest)
		io.WriteString(w, `{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException","message":"Rate exceeded"}`)
	case strings.HasPrefix(service, "AmazonSQS"):
		w.Header().Set("Content-Type", "application/x-amz-json-1.0")
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"__type":"com.amazonaws.sqs#RequestThrottled","message":"Rate exceeded"}`)
	default:
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprint(w, `<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
	}
}
