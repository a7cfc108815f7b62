package api_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// dial opens a connection of its own to c's server, as c's owner, and writes the beginning of a POST: head ends
// with an empty line and what is sent of the body.
func dial(t *testing.T, c *apitest.Client, path, head string) net.Conn {
	t.Helper()
	host := strings.TrimPrefix(c.URL, "http://")
	conn, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n%s", path, host, c.Token, head); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestStalledBodies holds that a body which stops arriving is answered.
func TestStalledBodies(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true, Patience: 200 * time.Millisecond})
	form := "Content-Type: multipart/form-data; boundary=b\r\n"
	content := "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\nPK"
	up := strings.TrimPrefix(c.Upload("x.zip", nil, nil).UploadURL, c.URL)
	for name, tt := range map[string]struct{ path, head string }{
		"Length":  {"/v1/predictions", "Content-Length: 100\r\n\r\n{"},
		"Chunked": {"/v1/predictions", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"},
		"Large":   {"/v1/predictions", "Content-Length: 9000000\r\n\r\n" + strings.Repeat(" ", 2<<20)},
		"Upload":  {"/v1/upload/x.zip", "Content-Length: 100\r\n\r\n{"},
		"File":    {"/v1/files", form + "Content-Length: 1000\r\n\r\n" + content},
		"FileTop": {"/v1/files", form + "Content-Length: 1000\r\n\r\n--b\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := io.ReadAll(dial(t, c, tt.path, tt.head))
			if err != nil || !bytes.HasPrefix(b, []byte("HTTP/1.1 408 ")) || !bytes.Contains(b, []byte("application/problem+json")) ||
				!bytes.Contains(b, []byte(`"detail":"The request body stopped arriving before its end. Send it again."`)) {
				t.Errorf("%q, %v", b, err)
			}
		})
	}
	t.Run("Put", func(t *testing.T) {
		conn := dial(t, c, "/", "Content-Length: 0\r\n\r\n")
		fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nPK", up)
		if b, err := io.ReadAll(conn); err != nil || !bytes.Contains(b, []byte("HTTP/1.1 408 ")) || !bytes.Contains(b, []byte("stopped arriving")) {
			t.Errorf("%q, %v", b, err)
		}
	})
}

// TestLargeBodiesOfOne holds that one owner's stalled large bodies keep neither the owner's small ones nor another
// owner's large ones waiting.
func TestLargeBodiesOfOne(t *testing.T) {
	s, c := service(t, apitest.Options{Idle: true})
	for i := range 10 {
		head := "Content-Length: 9000000\r\n\r\n" + strings.Repeat(" ", 2<<20)
		if i%2 == 0 {
			head = "Transfer-Encoding: chunked\r\n\r\n200000\r\n" + strings.Repeat(" ", 2<<20) + "\r\n"
		}
		dial(t, c, "/v1/predictions", head)
	}
	for range 20 {
		dial(t, c, "/v1/predictions", "Content-Length: 9000000\r\n\r\n{") // only says that it is large
		dial(t, c, "/v1/predictions", "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n")
	}
	text := `{"version":"` + events.AnnouncedLoraID + `","input":{"prompt":"x"}}`
	start := time.Now()
	// A reader of unknown length is sent in chunks.
	if a := c.Do("POST", "/v1/predictions", io.MultiReader(strings.NewReader(text))); a.Status != 201 {
		t.Errorf("the owner's small one: %d %s", a.Status, a.Body)
	}
	other := &apitest.Client{T: t, URL: c.URL, Token: s.Token(t, "bob")}
	if a := other.Do("POST", "/v1/predictions", text+strings.Repeat(" ", 2<<20)); a.Status != 201 {
		t.Errorf("another's large one: %d %s", a.Status, a.Body)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("they took %v", d)
	}
}

// TestLimitAtOnce holds the limit of open jobs against requests that come all at once.
func TestLimitAtOnce(t *testing.T) {
	const limit = 7
	s, c := service(t, apitest.Options{Idle: true, Limits: api.Limits{OpenJobs: limit}})
	clients := []*apitest.Client{c, {T: t, URL: c.URL, Token: s.Token(t, "bob")}}
	var mu sync.Mutex
	var all sync.WaitGroup
	made := map[string]map[int]int{}
	for i := range 80 {
		c := clients[i%2]
		all.Go(func() {
			a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{"prompt": "x"}})
			mu.Lock()
			defer mu.Unlock()
			if made[c.Token] == nil {
				made[c.Token] = map[int]int{}
			}
			made[c.Token][a.Status]++
		})
	}
	all.Wait()
	for _, c := range clients {
		if got := made[c.Token]; got[201] != limit || got[429] != 40-limit {
			t.Errorf("answers: %v, want %d jobs and the others refused", got, limit)
		}
	}
}

// TestTooLargeIsRead holds that a client which sends all of a file before it reads gets to see the 413.
func TestTooLargeIsRead(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true, Limits: api.Limits{File: 1000, JSON: 1000, Upload: 1000}})
	const size = 48 << 20
	part := "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\n"
	stranger := &apitest.Client{T: t, URL: c.URL, Token: "none"}
	for _, tt := range []struct {
		name       string
		client     *apitest.Client
		path, head string
		status     int
	}{
		{"File", c, "/v1/files", "Content-Type: multipart/form-data; boundary=b\r\n", 413},
		{"JSON", c, "/v1/predictions", "", 413},
		{"NoToken", stranger, "/v1/files", "", 401},
		{"NoPath", c, "/v1/none", "", 404},
	} {
		for _, chunked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s_%v", tt.name, chunked), func(t *testing.T) {
				length := fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(part)+size, part)
				if chunked {
					length = fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s", len(part)+size, part)
				}
				conn := dial(t, tt.client, tt.path, tt.head+length)
				block := bytes.Repeat([]byte("x"), 1<<20)
				for range size / len(block) {
					if _, err := conn.Write(block); err != nil {
						t.Fatal(err)
					}
				}
				if chunked {
					io.WriteString(conn, "\r\n0\r\n\r\n")
				}
				b, err := io.ReadAll(conn)
				if !bytes.HasPrefix(b, fmt.Appendf(nil, "HTTP/1.1 %d ", tt.status)) || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("%q, %v", b, err)
				}
			})
		}
	}
	if a := (&apitest.Client{T: t}).Do("PUT", c.Upload("x", nil, nil).UploadURL, make([]byte, size)); a.Status != http.StatusRequestEntityTooLarge {
		t.Errorf("an upload: %d", a.Status)
	}
}
