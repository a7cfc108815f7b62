package bodies

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// raw opens a connection to srv and writes the beginning of a request.
func raw(t *testing.T, srv *httptest.Server, text string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// reader answers with how many bytes came and how they ended.
var reader = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "%d stalled=%v %v", n, errors.Is(err, ErrStalled), err)
})

func TestGuard(t *testing.T) {
	const patience = 300 * time.Millisecond
	srv := httptest.NewServer(New(reader, patience, nil))
	defer srv.Close()
	rest := func(conn net.Conn) string {
		b, _ := io.ReadAll(conn)
		return string(b)
	}
	t.Run("ErrStalled", func(t *testing.T) {
		for name, head := range map[string]string{"Length": "Content-Length: 10\r\n\r\nabc", "Chunked": "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"} {
			start := time.Now()
			conn := raw(t, srv, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"+head)
			if got := rest(conn); !strings.Contains(got, "3 stalled=true") {
				t.Errorf("%s: %q", name, got)
			}
			if d := time.Since(start); d < patience || d > 20*patience {
				t.Errorf("%s: answered after %v, want about %v", name, d, patience)
			}
		}
	})
	t.Run("ErrDrip", func(t *testing.T) { // some bytes now and then are no progress
		conn := raw(t, srv, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n")
		start := time.Now()
		go func() {
			for time.Since(start) < 10*patience {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(patience / 10)
			}
		}()
		if got := rest(conn); !strings.Contains(got, "stalled=true") {
			t.Errorf("%q", got)
		}
		if d := time.Since(start); d > 5*patience {
			t.Errorf("answered after %v", d)
		}
	})
	t.Run("Slow", func(t *testing.T) { // one that moves may take many times the patience
		in, out := io.Pipe()
		go func() {
			for range 12 {
				time.Sleep(patience / 4)
				out.Write(make([]byte, Minimum))
			}
			out.Close()
		}()
		resp, err := http.Post(srv.URL, "", in)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if b, _ := io.ReadAll(resp.Body); !strings.HasPrefix(string(b), fmt.Sprint(12*Minimum, " stalled=false")) {
			t.Errorf("%q", b)
		}
	})
}

// TestGuardLeaves holds that a request whose body has come may be held for longer than the patience, that what its
// handler does between two reads is not the client's fault, and that the connection serves the next one.
func TestGuardLeaves(t *testing.T) {
	const patience = 100 * time.Millisecond
	stopping := make(chan struct{})
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP2_%v", http2), func(t *testing.T) {
			srv := httptest.NewUnstartedServer(New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				first := make([]byte, 2)
				_, err := io.ReadFull(r.Body, first)
				time.Sleep(3 * patience)
				b, err2 := io.ReadAll(r.Body)
				select {
				case <-r.Context().Done():
				case <-time.After(3 * patience):
				}
				fmt.Fprintf(w, "HTTP/%d %s%s %v", r.ProtoMajor, first, b, errors.Join(err, err2, r.Context().Err()))
			}), patience, stopping))
			srv.EnableHTTP2 = http2
			srv.StartTLS()
			defer srv.Close()
			want := "HTTP/1 body <nil>"
			if http2 {
				want = "HTTP/2 body <nil>"
			}
			for range 2 {
				resp, err := srv.Client().Post(srv.URL, "", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(b) != want || err != nil {
					t.Errorf("%q, %v, want %q", b, err, want)
				}
			}
		})
	}
}

// TestGuardStops holds that a server which is stopping waits no longer for bodies that stall, while answers that
// are held go on.
func TestGuardStops(t *testing.T) {
	stopping := make(chan struct{})
	held := make(chan error, 1)
	srv := httptest.NewServer(New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			io.Copy(io.Discard, r.Body)
			held <- nil
			select {
			case <-r.Context().Done():
			case <-time.After(StopPatience + time.Second):
			}
			held <- r.Context().Err()
			return
		}
		held <- nil
		reader(w, r)
	}), time.Hour, stopping))
	defer srv.Close()
	raw(t, srv, "POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
	<-held
	conn := raw(t, srv, "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc")
	<-held
	time.Sleep(50 * time.Millisecond) // it reads
	close(stopping)
	start := time.Now()
	b, _ := io.ReadAll(conn)
	if !bytes.Contains(b, []byte("stalled=true")) || time.Since(start) > 2*StopPatience {
		t.Errorf("%q after %v", b, time.Since(start))
	}
	if err := <-held; err != nil {
		t.Errorf("a held answer's context ended: %v", err)
	}
}

// TestRefuse holds that clients which send all of a large body before they read get to see why it was refused.
func TestRefuse(t *testing.T) {
	srv := httptest.NewServer(New(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Refuse(w, r, http.StatusRequestEntityTooLarge, []byte("too large"))
	}), time.Minute, nil))
	defer srv.Close()
	const size = 64 << 20
	for range 5 {
		conn := raw(t, srv, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", size))
		if _, err := io.CopyN(conn, zeros{}, size); err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(conn)
		if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 413 ")) || !bytes.HasSuffix(b, []byte("\r\n\r\ntoo large")) {
			t.Errorf("%q, %v", b, err)
		}
	}
	t.Run("Bounded", func(t *testing.T) {
		conn := raw(t, srv, fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx", size))
		start := time.Now()
		if b, _ := io.ReadAll(conn); !bytes.HasSuffix(b, []byte("too large")) || time.Since(start) > lingerTime+3*time.Second {
			t.Errorf("%q after %v", b, time.Since(start))
		}
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
