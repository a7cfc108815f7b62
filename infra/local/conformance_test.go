package local_test

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/infratest"
	"github.com/lowrank/lowrank/infra/local"
)

func TestConformance(t *testing.T) {
	infratest.Run(t, func(t *testing.T) infratest.Adapter {
		dir, clock, server := t.TempDir(), infratest.NewClock(time.Now()), httptest.NewUnstartedServer(nil)
		open := func(t *testing.T) infra.Ports {
			s, err := local.Open(t.Context(), dir, local.Options{Clock: clock, PublicURL: "http://" + server.Listener.Addr().String()})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { s.Close() })
			server.Config.Handler = s.UploadHandler()
			return s.Ports()
		}
		ports := open(t)
		server.Start()
		t.Cleanup(server.Close)
		return infratest.Adapter{Ports: ports, Advance: clock.Advance, Other: open, Restart: open}
	})
}

func BenchmarkPorts(b *testing.B) {
	s, err := local.Open(b.Context(), b.TempDir(), local.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	infratest.Bench(b, s.Ports())
}
