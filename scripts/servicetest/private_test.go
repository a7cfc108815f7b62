//go:build unix

package servicetest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/lowrank/lowrank/events"
)

// target is a server on this machine that a stranger's job must not reach. It
// counts who came, and sends /to/… elsewhere.
func target(t *testing.T, files map[string][]byte) (u *url.URL, came *atomic.Int32) {
	t.Helper()
	came = new(atomic.Int32)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		came.Add(1)
		if to, ok := strings.CutPrefix(r.URL.Path, "/to/"); ok {
			http.Redirect(w, r, "http://"+to, http.StatusFound)
			return
		}
		if data, ok := files[r.URL.Path]; ok {
			w.Write(data)
			return
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u, came
}

// failed waits for the job's failure and returns its reason.
func (s *service) failed(id events.JobID) string {
	s.Helper()
	for {
		s.alive()
		p := s.get(id)
		if p.Status == events.Failed {
			return deref(p.Error)
		}
		if p.Status.Terminal() {
			s.Fatalf("the job was to fail and is %s", p.Status)
		}
		pause()
	}
}

// A service without --allow-loopback reaches nothing private, however a user
// spells it, neither for inputs nor with webhooks; its own URLs it knows.
func TestPrivateAddresses(t *testing.T) {
	needService(t)
	t.Parallel()
	there, came := target(t, nil)
	s := serve(t, t.TempDir(), "")
	port := there.Port()
	training := func(data string) events.Prediction {
		var p events.Prediction
		s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora-training", "input": map[string]any{"instance_data": data}}, &p)
		return p
	}
	t.Run("Inputs", func(t *testing.T) {
		s := s.in(t)
		for _, c := range []struct{ name, host string }{
			{"Loopback", "127.0.0.1:" + port}, {"Name", "localhost:" + port}, {"IPv6", "[::1]:" + port}, {"Mapped", "[::ffff:127.0.0.1]:" + port},
			{"Unspecified", "0.0.0.0:" + port}, {"Decimal", "2130706433:" + port},
			{"Private", "10.0.0.1"}, {"Home", "192.168.1.1"}, {"Metadata", "169.254.169.254"}, {"MetadataIPv6", "[fd00:ec2::254]"}, {"Translated", "[64:ff9b::7f00:1]:" + port},
		} {
			t.Run(c.name, func(t *testing.T) {
				reason := s.failed(training("http://" + c.host + "/latest/meta-data/x.zip").ID)
				if !strings.HasPrefix(reason, "instance_data: ") || strings.Contains(reason, "dial") {
					t.Errorf("failed with %q", reason)
				}
				switch c.name {
				case "Decimal": // no address, and no name that anything has
				default:
					if !strings.Contains(reason, "not public") {
						t.Errorf("failed with %q", reason)
					}
				}
			})
		}
		if reason := s.failed(s.draw(map[string]any{"prompt": "a cat", "lora_urls": there.String() + "/x.safetensors"}).ID); !strings.Contains(reason, "not public") {
			t.Errorf("lora_urls: %q", reason)
		}
		if reason := s.failed(s.draw(map[string]any{"prompt": "a cat", "image": there.String() + "/x.png"}).ID); !strings.Contains(reason, "not public") {
			t.Errorf("image: %q", reason)
		}
	})
	t.Run("Webhook", func(t *testing.T) {
		s := s.in(t)
		var p events.Prediction
		s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora", "webhook": there.String() + "/hook?secret=swordfish",
			"input": map[string]any{"prompt": "a cat", "num_inference_steps": 1}}, &p)
		s.succeeded(p.ID)
		for !strings.Contains(s.log.String(), "not public") { // said where an operator sees it
			s.alive()
			pause()
		}
	})
	t.Run("OwnURLs", func(t *testing.T) {
		s := s.in(t)
		lora := s.succeeded(s.train(1, 1).ID)
		p := s.succeeded(s.draw(map[string]any{"prompt": "a cat in <1>", "num_inference_steps": 1, "lora_urls": lora.Output}).ID)
		picture := p.Output.([]any)[0]
		s.succeeded(s.draw(map[string]any{"prompt": "a cat", "num_inference_steps": 2, "image": picture}).ID)
		s.succeeded(func() events.JobID {
			var p events.Prediction
			s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora-advanced-training", "input": map[string]any{
				"instance_data": s.serving(), "max_train_steps_ti": 1, "max_train_steps_tuning": 1}}, &p)
			return p.ID
		}())
	})
	s.stop()
	if n := came.Load(); n != 0 {
		t.Errorf("the server on this machine was reached %d times", n)
	}
	if log := s.log.String(); strings.Contains(log, "swordfish") || strings.Contains(log, "meta-data") {
		t.Errorf("the log tells users' URLs:\n%s", log)
	}
}

// With --allow-loopback this machine is reached, and nothing else that is private:
// not at the end of a redirect either. A page instead of a zip is told apart.
func TestRedirectToPrivate(t *testing.T) {
	needService(t)
	t.Parallel()
	there, came := target(t, map[string][]byte{"/page.zip": []byte("<!doctype html><title>Sign in</title>"), "/neon-sign.zip": neonSigns(t)})
	s := serve(t, t.TempDir(), "", "--allow-loopback")
	for _, c := range []struct{ name, path, want string }{
		{"Private", "/to/10.0.0.1/x.zip", "not public"},
		{"Metadata", "/to/169.254.169.254/latest/meta-data", "not public"},
		{"Twice", "/to/" + there.Host + "/to/192.168.0.1/x.zip", "not public"},
		{"Page", "/page.zip", "web page"},
		{"Missing", "/none.zip", "404"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := s.in(t)
			var p events.Prediction
			s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora-training", "input": map[string]any{"instance_data": there.String() + c.path}}, &p)
			if reason := s.failed(p.ID); !strings.Contains(reason, c.want) {
				t.Errorf("failed with %q, want %q", reason, c.want)
			}
		})
	}
	var p events.Prediction
	s.call("POST", "/v1/predictions", map[string]any{"version": "replicate/lora-advanced-training", "input": map[string]any{
		"instance_data": there.String() + "/to/" + there.Host + "/neon-sign.zip", "max_train_steps_ti": 1, "max_train_steps_tuning": 1}}, &p)
	if out, _ := json.Marshal(s.succeeded(p.ID).Output); !strings.Contains(string(out), "neon-sign") {
		t.Errorf("made %s", out)
	}
	if came.Load() == 0 {
		t.Error("nobody came")
	}
	s.stop()
}
