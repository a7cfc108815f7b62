package fetch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// pipes is a network inside a synctest bubble, where time leaps when everybody
// waits: all names lead to one server.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) dial(ctx context.Context, _, address string) (net.Conn, error) {
	if strings.HasPrefix(address, "unreachable.") {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// fetchOver fetches url from a server that answers with h, and returns how often
// it was asked and how long that took.
func fetchOver(t *testing.T, url string, h http.HandlerFunc) (file File, hits int32, took time.Duration, err error) {
	t.Helper()
	var n atomic.Int32
	network := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { n.Add(1); h(w, r) })}
	go server.Serve(network)
	defer server.Close()
	f := open(t, Options{})
	over := transport(f.options)
	over.DialContext = network.dial
	defer over.CloseIdleConnections()
	f.client.Transport = checked{over}
	begun := time.Now()
	file, err = f.Fetch(t.Context(), url)
	return file, n.Load(), time.Since(begun), err
}

// send answers with size bytes, so many at once, each after a pause.
func send(size, piece int, pause time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(size))
		w.(http.Flusher).Flush()
		for sent := 0; sent < size && r.Context().Err() == nil; sent += piece {
			rest(r, pause)
			if _, err := w.Write(bytes.Repeat([]byte("x"), min(piece, size-sent))); err != nil {
				return
			}
			w.(http.Flusher).Flush()
		}
	}
}

// rest waits, but not for a client that has gone.
func rest(r *http.Request, d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.Context().Done():
	}
}

// hang keeps a request until the client has gone.
func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// moved redirects from slow.test to other.test after a pause, and has h answer there.
func moved(pause time.Duration, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "slow.test" {
			h(w, r)
			return
		}
		rest(r, pause)
		http.Redirect(w, r, "http://other.test/file", http.StatusFound)
	}
}

func TestPaceTooSlow(t *testing.T) {
	const answer, body = " is too slow to answer", " is too slow, less than 64 KiB came in 15 seconds"
	for name, tt := range map[string]struct {
		h    http.HandlerFunc
		want string
		took time.Duration
		hits int32
	}{
		"Headers": {hang, "slow.test" + answer, answerWithin, 1},
		"Body":    {send(100000, 1, time.Second), "slow.test" + body, paceWithin, 1},
		"Stall": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "10000000")
			w.Write(make([]byte, 1<<20))
			w.(http.Flusher).Flush()
			hang(w, r)
		}, "slow.test" + body, paceWithin, 1},
		"AlmostFast":     {send(10<<20, 4<<10, time.Second), "slow.test" + body, paceWithin, 1},
		"Redirect":       {moved(10*time.Second, hang), "other.test" + answer, answerWithin, 2},
		"RedirectItself": {moved(time.Minute, hang), "slow.test" + answer, answerWithin, 1},
		"BodyElsewhere":  {moved(10*time.Second, send(100000, 1, time.Second)), "other.test" + body, 10*time.Second + paceWithin, 2},
		// The pace is kept to the end of the time for the whole.
		"Whole": {send(100<<20, 64<<10, 10*time.Second), "it took too long", 10 * time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, hits, took, err := fetchOver(t, "http://slow.test/secret-path?token=hush", tt.h)
				if infra.KindOf(err) != infra.ErrInvalid || err.Error() != "the URL could not be downloaded: "+tt.want {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				if took != tt.took || hits != tt.hits {
					t.Errorf("given up after %v and %d requests, want %v and %d", took, hits, tt.took, tt.hits)
				}
			})
		})
	}
}

func TestPaceUnreachable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, hits, took, err := fetchOver(t, "http://unreachable.test/", hang)
		if err == nil || !strings.Contains(err.Error(), "unreachable.test is too slow to answer") || took != answerWithin || hits != 0 {
			t.Errorf("got %v after %v, want that the host is too slow after %v", err, took, answerWithin)
		}
	})
}

func TestPaceKept(t *testing.T) {
	for name, tt := range map[string]struct {
		h    http.HandlerFunc
		size int64
		took time.Duration
	}{
		"AtOnce":    {send(4<<20, 4<<20, 0), 4 << 20, 0},
		"Steady":    {send(2<<20, 64<<10, 14*time.Second), 2 << 20, 32 * 14 * time.Second},
		"FewAtOnce": {send(1<<20, 1<<10, 200*time.Millisecond), 1 << 20, 1024 * 200 * time.Millisecond},
		"SmallLate": {send(100, 100, 14*time.Second), 100, 14 * time.Second},
		"Redirect":  {moved(14*time.Second, send(100, 100, 14*time.Second)), 100, 28 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				file, _, took, err := fetchOver(t, "http://slow.test/", tt.h)
				if err != nil || file.Size != tt.size || took != tt.took {
					t.Errorf("got %d bytes after %v, %v, want %d after %v", file.Size, took, err, tt.size, tt.took)
				}
			})
		})
	}
}

// What our own disk takes between two reads is no slowness of the server's.
func TestPaceOfOurOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, giveUp := context.WithCancelCause(t.Context())
		defer giveUp(nil)
		p := newPaced(ctx, giveUp, bytes.NewReader(make([]byte, 1000)), "fast.test")
		for range 10 {
			if _, err := io.ReadFull(p, make([]byte, 100)); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if _, err := p.Read(make([]byte, 1)); !errors.Is(err, io.EOF) || ctx.Err() != nil {
			t.Errorf("got %v, %v, want the end of the file", err, context.Cause(ctx))
		}
	})
}
