// Package bodies keeps the bodies of HTTP requests moving. One that stalls ends, so that whoever reads it
// never waits without a limit, and what is left of a refused one is read for a while, so that its client gets
// to see why.
package bodies

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// ErrStalled is what reading a body fails with when it has stopped arriving. Its text may be shown.
var ErrStalled = errors.New("the request body stopped arriving before its end")

const (
	// Patience is how long a server waits for the next Minimum of a body: a client that sends 140 bytes a
	// second or more is never cut off, however large what it sends.
	Patience = 30 * time.Second
	// Minimum is how many bytes are progress.
	Minimum = 4 << 10
	// StopPatience is the patience of a server that is stopping: what moves may end.
	StopPatience = 2 * time.Second
)

// Guard bounds how long the bodies of a server's requests may stall.
type Guard struct {
	next http.Handler

	mu       sync.Mutex
	patience time.Duration
	open     map[*body]struct{}
}

// New puts a Guard before next. The patience is StopPatience at most from when stopping is closed; it may be nil.
func New(next http.Handler, patience time.Duration, stopping <-chan struct{}) *Guard {
	g := &Guard{next: next, patience: patience, open: map[*body]struct{}{}}
	if stopping != nil {
		go func() {
			<-stopping
			g.hurry(StopPatience)
		}()
	}
	return g
}

// hurry lowers the patience, for bodies that are being read too.
func (g *Guard) hurry(patience time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.patience = min(g.patience, patience)
	for b := range g.open {
		b.mu.Lock()
		if b.err == nil { // one that has ended needs no deadline, and its connection must have none
			b.left = min(b.left, g.patience)
			if b.reading {
				b.began = time.Now()
			}
			if b.reading || !b.streamed { // of HTTP/2 a deadline ends the body even while no one reads
				b.arm()
			}
		}
		b.mu.Unlock()
	}
}

// ServeHTTP implements http.Handler.
func (g *Guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Body == nil || r.Body == http.NoBody {
		g.next.ServeHTTP(w, r)
		return
	}
	b := &body{ReadCloser: r.Body, guard: g, control: http.NewResponseController(w), streamed: r.ProtoMajor > 1}
	g.mu.Lock()
	b.left = g.patience
	g.open[b] = struct{}{}
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		delete(g.open, b)
		g.mu.Unlock()
	}()
	if !b.streamed {
		b.arm() // net/http reads what a handler leaves of a body, too
	}
	r.Body = b // in r itself: the server removes a form's files through it
	g.next.ServeHTTP(w, r)
}

// body counts what arrives and the time that passes in Read. The time between two Reads is its reader's.
type body struct {
	io.ReadCloser
	guard    *Guard
	control  *http.ResponseController
	streamed bool // HTTP/2

	mu      sync.Mutex
	left    time.Duration // until Minimum more must be there
	until   time.Time     // when it must have ended; zero is never
	reading bool          // a Read is under way,
	began   time.Time     // and counts since
	got     int           // bytes of the next Minimum
	err     error         // what Read ended with
}

// arm sets the connection's deadline. mu is held, or no one else knows b. Where no deadline can be set, as in
// tests without a connection, bodies cannot stall either.
func (b *body) arm() {
	deadline := time.Now().Add(max(b.left, 0))
	if !b.until.IsZero() && b.until.Before(deadline) {
		deadline = b.until
	}
	_ = b.control.SetReadDeadline(deadline)
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.err != nil {
		defer b.mu.Unlock()
		return 0, b.err
	}
	b.reading, b.began = true, time.Now()
	b.arm()
	b.mu.Unlock()
	n, err := b.ReadCloser.Read(p)

	b.guard.mu.Lock()
	patience := b.guard.patience
	b.guard.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reading = false
	b.left -= time.Since(b.began)
	if b.got += n; b.got >= Minimum {
		b.got, b.left = 0, patience
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("%w: %w", ErrStalled, err)
	}
	b.err = err
	if err == io.EOF || b.streamed {
		// After its end the server watches a connection for the client's going away, and a deadline would look
		// like that. Of HTTP/2 it ends the body even while no one reads.
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// within lets the rest of the body take d altogether.
func (b *body) within(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.until = time.Now().Add(d)
}

const (
	lingerTime  = 5 * time.Second
	lingerBytes = 512 << 20
)

// Refuse answers r, whose body has not been read to its end, and closes the connection. The answer goes out first;
// then what still arrives of the body is thrown away for some seconds, for a connection that is closed while its
// client sends is reset, and many clients then never see the answer.
func Refuse(w http.ResponseWriter, r *http.Request, status int, answer []byte) {
	h := w.Header()
	h.Set("Connection", "close")
	h.Set("Content-Length", fmt.Sprint(len(answer))) // or it would end when this does
	control := http.NewResponseController(w)
	linger := r.Body != nil && r.ProtoMajor == 1 && control.EnableFullDuplex() == nil
	w.WriteHeader(status)
	w.Write(answer)
	if !linger || control.Flush() != nil {
		return
	}
	if b, ok := r.Body.(*body); ok {
		b.within(lingerTime)
	} else if control.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	io.CopyN(io.Discard, r.Body, lingerBytes) // how it ends changes nothing
}
