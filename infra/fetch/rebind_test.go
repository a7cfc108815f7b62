package fetch

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// names answers every question for an address with the next of its answers, the last one again and again: as the
// server of a name does that is changed between two looks.
type names struct {
	answers [][4]byte
	asked   atomic.Int32
}

// dial is the other end of a resolver's connection.
func (n *names) dial(context.Context, string, string) (net.Conn, error) {
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		for {
			var size [2]byte // of a message over a stream, RFC 1035 4.2.2
			if _, err := far.Read(size[:]); err != nil {
				return
			}
			text := make([]byte, int(size[0])<<8|int(size[1]))
			if _, err := far.Read(text); err != nil {
				return
			}
			// A message is a header of 12 bytes, then the question: a name that ends with 0, type and class (RFC 1035 4.1).
			end := 12 + bytes.IndexByte(text[12:], 0) + 5
			answer := append([]byte{}, text[:end]...)
			copy(answer[2:12], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
			if text[end-3] == 1 { // A
				i := min(int(n.asked.Add(1)), len(n.answers)) - 1
				answer[7] = 1
				answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4) // the question's name, type, class, for no time, 4 bytes
				answer = append(answer, n.answers[i][:]...)
			}
			if _, err := far.Write(append([]byte{0, byte(len(answer))}, answer...)); err != nil {
				return
			}
		}
	}()
	return near, nil
}

// A name that is this machine's or a private one's when it is dialed is refused, whatever it was before, and so is
// one that a redirect leads to.
func TestRebinding(t *testing.T) {
	was := net.DefaultResolver
	defer func() { net.DefaultResolver = was }()
	var came atomic.Int32
	there := serve(t, func(w http.ResponseWriter, r *http.Request) {
		came.Add(1)
		w.Header().Set("Connection", "close") // the next request dials anew
		if strings.HasPrefix(r.Host, "127.0.0.1:") {
			http.Redirect(w, r, "http://moved.test/"+r.URL.Path, http.StatusFound)
		}
	})
	port := there[strings.LastIndex(there, ":"):]
	for name, tt := range map[string]struct {
		url     string
		o       Options
		answers [][4]byte
		came    int32
	}{
		"Loopback": {"http://changed.test" + port, Options{}, [][4]byte{{127, 0, 0, 1}}, 0},
		"Metadata": {"http://changed.test/latest", Options{}, [][4]byte{{169, 254, 169, 254}}, 0},
		"Redirect": {there, Options{AllowLoopback: true}, [][4]byte{{10, 0, 0, 1}}, 1},
		// The first look gives this machine, which is allowed here, the second a private one: it is the second that is dialed.
		"Changed": {"http://changed.test" + port, Options{AllowLoopback: true}, [][4]byte{{127, 0, 0, 1}, {192, 168, 0, 1}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			n := &names{answers: tt.answers}
			net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: n.dial}
			came.Store(0)
			f := open(t, tt.o)
			if name == "Changed" {
				resp, err := f.client.Get(tt.url)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
			}
			_, err := f.Fetch(t.Context(), tt.url)
			if err == nil || !strings.Contains(err.Error(), ErrPrivate.Error()) {
				t.Errorf("got %v, want %v", err, ErrPrivate)
			}
			if came.Load() != tt.came || n.asked.Load() == 0 {
				t.Errorf("%d requests arrived, want %d; the name was asked for %d times", came.Load(), tt.came, n.asked.Load())
			}
		})
	}
}
