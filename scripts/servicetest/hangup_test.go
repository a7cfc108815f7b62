//go:build unix

package servicetest

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// TestHangUp: clients that are gone before their answer take nothing with them.
func TestHangUp(t *testing.T) {
	needService(t)
	t.Parallel()
	s := serve(t, t.TempDir(), "")
	addr := strings.TrimPrefix(s.url, "http://")
	for range 50 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("the service is gone: %v", err)
		}
		fmt.Fprint(c, strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 20))
		time.Sleep(2 * time.Millisecond) // for it to begin to answer
		if err := c.(*net.TCPConn).SetLinger(0); err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	time.Sleep(200 * time.Millisecond)
	s.call("GET", "/v1/account", nil, &struct{}{})
	s.stop()
}
