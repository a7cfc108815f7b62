package web_test

import (
	"bytes"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/functions/web"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

// slowly sends pages in pieces and pictures late, as a slow network does: what moves while a page arrives moves
// every time.
func slowly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(&slowWriter{ResponseWriter: w}, r) })
}

type slowWriter struct{ http.ResponseWriter }

const slowPiece = 2 << 10 // bytes

func (w *slowWriter) Write(b []byte) (int, error) {
	kind := w.Header().Get("Content-Type")
	if strings.HasPrefix(kind, "image/") {
		time.Sleep(100 * time.Millisecond)
	}
	if !strings.HasPrefix(kind, "text/html") {
		return w.ResponseWriter.Write(b)
	}
	sent := 0
	for len(b) > 0 {
		n, err := w.ResponseWriter.Write(b[:min(len(b), slowPiece)])
		if sent += n; err != nil {
			return sent, err
		}
		w.ResponseWriter.(http.Flusher).Flush()
		time.Sleep(20 * time.Millisecond)
		b = b[n:]
	}
	return sent, nil
}

// slow is the same service behind a slow network.
func (s *server) slow() *server {
	srv := httptest.NewServer(slowly(web.New(web.Config{Ports: s.svc.Ports, Catalogue: s.svc.Catalogue, API: s.svc.Handler, Concepts: oneShipped})))
	s.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
	})
	other := *s
	other.url = srv.URL
	return &other
}

// square is a picture of a size.
func square(t *testing.T, side int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, side, side))); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// inEveryState makes jobs that stay where they are, and returns the path of each by what it shows.
func inEveryState(t *testing.T, s *server) map[string]string {
	t.Helper()
	b, store := s.signedIn(s.token), predictions.New(s.svc.Ports)
	zipForm := func() url.Values {
		return url.Values{"instance_data": {"https://a.example/neon-sign.zip"}, "task": {"style"}}
	}
	started := func(model string, form url.Values) (string, *predictions.Run) {
		path := b.run(model, form)
		run, err := store.Start(t.Context(), idOf(path), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return path, run
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(run *predictions.Run, name string, content []byte, o infra.PutOptions) events.OutputObject {
		job := run.Job()
		key := job.OutputKey(name)
		_, err := s.svc.Ports.Blobs.Put(t.Context(), key, bytes.NewReader(content), o)
		must(err)
		return events.OutputObject{Key: key, Size: int64(len(content)), ContentType: o.ContentType}
	}
	learn := func(run *predictions.Run, steps int) {
		run.Log("Previews are drawn at 25, 50, 75, 100 %.\n")
		for i := range steps {
			run.Log(events.ProgressLine(i+1, 100, time.Duration(i+1)*time.Second, fmt.Sprintf("loss=%.2f", 0.5-0.003*float64(i))))
		}
		run.Progress(events.Progress{Stage: "tuning", Done: steps, Total: 100})
		must(run.Beat(t.Context()))
	}
	paths := map[string]string{}
	paths["in line"] = b.run("/replicate/lora", url.Values{"prompt": {"in line"}})
	a := b.do("POST", "/v1/upload/neon-sign.zip", http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}},
		strings.NewReader(`{"train":{"model":"replicate/lora-training","input":{"task":"style"}}}`))
	id := between(a.body, `"prediction":{"id":"`, `"`)
	if id == "" {
		t.Fatalf("no prediction waits for an upload: %d %s", a.status, a.body)
	}
	paths["waiting for an upload"] = "/predictions/" + id

	var run *predictions.Run
	paths["getting ready"], _ = started("/replicate/lora-training", zipForm())
	paths["training"], run = started("/replicate/lora-training", zipForm())
	learn(run, 60)
	put(run, "preview-025.png", square(t, 64), putPNG)
	put(run, "preview-050.png", square(t, 64), putPNG)

	paths["trained"], run = started("/replicate/lora-training", zipForm())
	learn(run, 100)
	for _, percent := range []int{25, 50, 75, 100} {
		put(run, fmt.Sprintf("preview-%03d.png", percent), square(t, 64), putPNG)
	}
	put(run, "loss.csv", []byte("phase,step,loss,learning_rate,validation_loss\ntuning,1,0.5,1e-4,\ntuning,2,0.4,1e-4,\ntuning,3,0.3,1e-4,\n"), infra.PutOptions{})
	must(run.Succeed(t.Context(), put(run, run.Job().OutputTemp+"neon-sign.safetensors", []byte("weights"), infra.PutOptions{})))

	paths["drawing"], run = started("/replicate/lora", url.Values{"prompt": {"drawing"}, "num_outputs": {"3"}})
	run.Progress(events.Progress{Stage: "sampling", Done: 30, Total: 75})
	put(run, "out-0.png", square(t, 64), putPNG)
	must(run.Beat(t.Context()))

	paths["drawn"], run = started("/replicate/lora", url.Values{"prompt": {"drawn, with " + strings.Repeat("a-word-that-does-not-break", 5)}, "num_outputs": {"2"}})
	must(run.Succeed(t.Context(), put(run, "out-0.png", square(t, 64), putPNG), put(run, "out-1.png", square(t, 64), putPNG)))

	paths["failed"], run = started("/replicate/lora", url.Values{"prompt": {"failed"}, "image": {"https://a.example/none.png"}})
	run.Log("It could not be read.\n")
	must(run.Fail(t.Context(), "image: the file is no picture; use a PNG, JPEG or WebP"))

	paths["canceled"], run = started("/replicate/lora-training", zipForm())
	learn(run, 20)
	if a := b.post(paths["canceled"]+"/cancel", url.Values{"_form": {b.forgery()}}); a.status != http.StatusSeeOther {
		t.Fatalf("cancel: got %d", a.status)
	}
	if job, err := store.Load(t.Context(), idOf(paths["canceled"])); err != nil || job.Status != events.Canceled {
		t.Fatalf("canceled: %v, %v", job.Status, err)
	}
	return paths
}

// TestBrowserStates looks at a job in every state, and at all pages, over a slow network: nothing moves while they
// arrive, nothing is wider than the window, axe-core finds nothing, and the policy refuses nothing.
func TestBrowserStates(t *testing.T) {
	browser := launch(t)
	fast := start(t, apitest.Options{Idle: true})
	states := inEveryState(t, fast)
	s := fast.slow()
	nobody := s.svc.Token(t, "nobody")
	for name, l := range map[string]look{"Desktop": desktop, "DarkTablet": {width: 768, height: 1024, dark: true}, "Phone": phone, "DarkPhone": {width: 320, height: 640, dark: true}} {
		t.Run(name, func(t *testing.T) {
			check := func(p *tab, where, path string) {
				p.to(path)
				p.settled(where, 0)
				p.axe(where)
			}
			p := open(t, browser, s.url, l, nil)
			p.signIn(s.token)
			for state, path := range states {
				check(p, state, path)
				p.until("its state is shown", `document.querySelector("[data-panel] .pill")`)
			}
			drawn, trained := states["drawn"], states["trained"]
			for _, path := range append([]string{
				"/predictions", "/predictions?kind=pictures&status=done", "/predictions?q=nothing+fits", "/concepts", "/concepts?q=nothing", drawn + "/delete", "/nothing/here/at/all",
				"/replicate/lora?from=" + string(idOf(drawn)), "/replicate/lora-training?from=" + string(idOf(trained)), "/replicate/lora?with=" + string(idOf(trained)) + "&with=dots", "/replicate/lora/api?from=" + string(idOf(drawn)),
			}, publicPages...) {
				if path != "/sign-in" { // who is signed in is led on
					check(p, path, path)
				}
			}
			if l.dark {
				if got := eval[string](p, "getComputedStyle(document.body).backgroundColor"); got != "rgb(20, 19, 18)" {
					t.Errorf("the background is %s", got)
				}
			}
			out := open(t, browser, s.url, l, nil)
			for _, path := range []string{"/", "/sign-in", "/examples", "/replicate/lora", "/replicate/lora-training"} {
				check(out, "signed out, "+path, path)
			}
			none := open(t, browser, s.url, l, nil)
			none.signIn(nobody)
			for _, path := range []string{"/", "/predictions", "/concepts"} {
				check(none, "with nothing, "+path, path)
			}
		})
	}
}
