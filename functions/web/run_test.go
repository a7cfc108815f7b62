package web_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

// zipOf is a zip with one picture's name in it: the test runner looks at no more.
func zipOf(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	if _, err := z.Create("a.png"); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// uploaded sends a zip as upload.js does, and returns its address.
func (b *browser) uploaded(zip []byte) string {
	b.Helper()
	a := b.do("POST", "/-/upload/neon-sign.zip", http.Header{"X-Lowrank": {b.forgery()}}, nil)
	var up events.Upload
	if err := json.Unmarshal([]byte(a.body), &up); err != nil || a.status != http.StatusOK {
		b.Fatalf("got %d %s", a.status, a.body)
	}
	r, err := http.NewRequest(http.MethodPut, up.UploadURL, bytes.NewReader(zip))
	if err != nil {
		b.Fatal(err)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode >= 300 {
		b.Fatalf("the upload: got %d", resp.StatusCode)
	}
	return up.ServingURL
}

// TestErrorsBesideFields: without JavaScript the form comes back as it was, with a sentence beside each field.
func TestErrorsBesideFields(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	b := s.signedIn(s.token)
	for _, c := range []struct {
		name, model, field, want string
		form                     url.Values
	}{
		{"Number", "/replicate/lora", "num_outputs", "Use a whole number from 1 to 4.", url.Values{"num_outputs": {"9"}}},
		{"Word", "/replicate/lora", "num_inference_steps", "Use a whole number from 1 to 500.", url.Values{"num_inference_steps": {"many"}}},
		{"Choice", "/replicate/lora", "scheduler", "Choose one of the list.", url.Values{"scheduler": {"WISHFUL"}}},
		{"Address", "/replicate/lora", "image", "Choose a file, or give an address that begins with https:// or http://.", url.Values{"image": {"file:///etc/passwd"}}},
		{"Mask", "/replicate/lora", "mask", "Mask needs an image to repaint.", url.Values{"mask": {"https://a.example/m.png"}}},
		{"Concepts", "/replicate/lora", "lora_urls", "must be http, https or data URLs", url.Values{"lora_urls": {"nonsense"}}},
		{"Scales", "/replicate/lora", "lora_scales", "must be one number, or one for each of the 1 lora_urls", url.Values{"lora_urls": {"https://a.example/a"}, "lora_scales": {"1|2"}}},
		{"Zip", "/replicate/lora-training", "instance_data", "Choose a zip of pictures first.", url.Values{}},
		{"Multiple", "/replicate/lora-training", "resolution", "Use a multiple of 8", url.Values{"instance_data": {"https://a.example/a.zip"}, "resolution": {"65"}}},
		{"Long", "/replicate/lora", "prompt", "Use at most 4000 characters.", url.Values{"prompt": {strings.Repeat("a", 4001)}}},
		{"Missing", "/replicate/lora", "image", "There is no such upload here", url.Values{"image": {s.url + "/serving/none/a.png"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			form := url.Values{"_form": {b.forgery()}, "negative_prompt": {"kept as typed"}, "format": {"kohya"}}
			for k, v := range c.form {
				form[k] = v
			}
			a := b.post(c.model, form)
			if a.status != http.StatusUnprocessableEntity {
				t.Fatalf("got %d to %s", a.status, a.location())
			}
			said := between(a.body, `id="err-`+c.field+`">`, "</p>")
			if !strings.Contains(said, c.want) {
				t.Errorf("beside %s: got %q, want %q", c.field, said, c.want)
			}
			if c.model == "/replicate/lora" && !strings.Contains(a.body, "kept as typed") {
				t.Error("what was typed is lost")
			}
			// The script gets the same.
			form.Del("_form")
			a = b.do("POST", c.model, http.Header{"X-Lowrank": {b.forgery()}, "Content-Type": {"application/x-www-form-urlencoded"}}, strings.NewReader(form.Encode()))
			var got struct{ Fields map[string]string }
			if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.status != http.StatusUnprocessableEntity || !strings.Contains(got.Fields[c.field], c.want) {
				t.Errorf("the script: got %d %s", a.status, a.body)
			}
		})
	}
}

func between(s, from, to string) string {
	_, rest, ok := strings.Cut(s, from)
	if !ok {
		return ""
	}
	inner, _, _ := strings.Cut(rest, to)
	return inner
}

// TestTrainAndDraw goes the whole way without JavaScript: a zip inside the form, the concept, a picture with it,
// its settings again.
func TestTrainAndDraw(t *testing.T) {
	s := start(t, apitest.Options{Train: 50 * time.Millisecond, Draw: 10 * time.Millisecond})
	b := s.signedIn(s.token)
	var body bytes.Buffer
	m := multipart.NewWriter(&body)
	for name, value := range map[string]string{"_form": b.forgery(), "_base": "embedded", "task": "style", "instance_data": ""} {
		if err := m.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	part, err := m.CreateFormFile("instance_data_file", "neon sign.zip")
	if err != nil {
		t.Fatal(err)
	}
	part.Write(zipOf(t))
	m.Close()
	a := b.do("POST", "/replicate/lora-training", http.Header{"Content-Type": {m.FormDataContentType()}}, &body)
	if a.status != http.StatusSeeOther {
		t.Fatalf("got %d\n%s", a.status, a.body)
	}
	training := a.location()
	page := b.ended(training)
	if !strings.Contains(page, "<h2>neonsign</h2>") || !strings.Contains(page, "/replicate/lora?with="+string(idOf(training))) {
		t.Fatalf("the concept is not shown\n%s", page)
	}
	if !strings.Contains(b.page("/concepts"), "neonsign") {
		t.Error("the concept is not listed")
	}
	page = b.page("/replicate/lora?with=" + string(idOf(training)) + "&with=dots")
	urls := between(page, `name="lora_urls" value="`, `"`)
	if first, second, ok := strings.Cut(urls, "|"); !ok || !strings.Contains(first, "neonsign.safetensors") || !strings.HasSuffix(second, "/dots.safetensors") {
		t.Fatalf("lora_urls: got %q", urls)
	}
	if !strings.Contains(page, "a cat in the style of &lt;1&gt; and &lt;2&gt;") || !strings.Contains(page, `value="0.5|0.6"`) {
		t.Error("no prompt and scales for both")
	}
	drawn := b.run("/replicate/lora", url.Values{"prompt": {"a cat in the style of <1>"}, "lora_urls": {urls}, "lora_scales": {"0.5|0.6"}, "num_outputs": {"2"}, "seed": {"5"}})
	page = b.ended(drawn)
	if strings.Count(page, "<figure><a href=") != 2 || !strings.Contains(page, "Picture 2 of: a cat") {
		t.Errorf("the pictures are not shown\n%s", between(page, `id="result"`, "</section>"))
	}
	picture := between(page, `<figure><a href="`, `"`)
	if a := b.get(picture); a.status != http.StatusOK || a.header.Get("Content-Type") != "image/png" {
		t.Errorf("%s: got %d", picture, a.status)
	}
	again := b.page("/replicate/lora?from=" + string(idOf(drawn)))
	for _, want := range []string{`value="0.5|0.6"`, `name="seed" value="5"`, "a cat in the style of &lt;1&gt;</textarea>"} {
		if !strings.Contains(again, want) {
			t.Errorf("settings again: no %s", want)
		}
	}
	if !strings.Contains(b.page("/concepts"), picture) {
		t.Error("the concept does not show the picture that was drawn with it")
	}
}

// TestFilter finds predictions by kind, state and words.
func TestFilter(t *testing.T) {
	s := start(t, apitest.Options{Draw: time.Millisecond})
	b := s.signedIn(s.token)
	for i := range 30 {
		b.run("/replicate/lora", url.Values{"prompt": {fmt.Sprintf("number %02d.", i)}})
	}
	b.ended(b.run("/replicate/lora", url.Values{"prompt": {"a needle"}}))
	for query, want := range map[string]int{"": 24, "?q=NEEDLE": 1, "?kind=trainings": 0, "?kind=pictures&status=done&q=needle": 1, "?status=failed": 0, "?q=number+07": 1} {
		if got := strings.Count(b.page("/predictions"+query), "data-item"); got != want {
			t.Errorf("%q: got %d, want %d", query, got, want)
		}
	}
	older := between(b.page("/predictions"), `<p class="pager"><a class="button" href="`, `"`)
	if got := strings.Count(b.page(strings.ReplaceAll(older, "&amp;", "&")), "data-item"); got != 7 {
		t.Errorf("the second page: got %d", got)
	}
}

// TestTextStaysText: what users write is shown as text, wherever it is shown.
func TestTextStaysText(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(2)>'${1}{{.}}`
	s := start(t, apitest.Options{Idle: true})
	b := s.signedIn(s.token)
	path := b.run("/replicate/lora", url.Values{"prompt": {evil}, "negative_prompt": {"</textarea>" + evil}, "lora_urls": {"https://a.example/x?" + url.QueryEscape(evil)}})
	store := predictions.New(s.svc.Ports)
	run, err := store.Start(t.Context(), idOf(path), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	run.Logf("%s", evil)
	run.Log("</pre>" + evil + "\n")
	run.Progress(events.Progress{Stage: evil, Done: 1, Total: 2})
	if err := run.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = store.Change(t.Context(), idOf(path), func(j *events.Job) error {
		j.Webhook = &events.Webhook{URL: "https://hooks.example/" + evil}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, where, body string) {
		t.Helper()
		for _, bad := range []string{"<script>alert", "<img src=x", "onerror=alert(2)>", "</pre>\"", "</textarea>\""} {
			if strings.Contains(body, bad) {
				t.Errorf("%s: %q is no text", where, bad)
			}
		}
	}
	running := b.page(path)
	check(t, "running", running)
	if strings.Count(running, "alert(1)") < 5 {
		t.Error("the page does not show the texts at all")
	}
	check(t, "panel", b.page(path+"/panel"))
	check(t, "again", b.page("/replicate/lora?from="+string(idOf(path))))
	check(t, "list", b.page("/predictions?q="+url.QueryEscape(evil)))
	check(t, "start", b.page("/"))
	check(t, "code", b.page("/replicate/lora/api?from="+string(idOf(path))))
	check(t, "missing", b.get("/"+url.PathEscape(evil)+"/x").body)
	if err := run.Fail(t.Context(), evil); err != nil {
		t.Fatal(err)
	}
	check(t, "failed", b.page(path))
	if a := b.get(path + "/log"); a.header.Get("Content-Type") != "text/plain; charset=utf-8" || a.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("the log comes as %s", a.header.Get("Content-Type"))
	}
	// A file's name.
	training := b.run("/replicate/lora-training", url.Values{"instance_data": {"https://a.example/" + url.PathEscape(evil) + ".zip"}})
	check(t, "training", b.page(training))
	check(t, "trainings", b.page("/predictions?kind=trainings"))
	check(t, "sign-in", s.browser().page("/sign-in?next="+url.QueryEscape("/"+evil)))
}

// TestPanelOfARunningJob shows stage, count, time left and the loss curve, and pictures as they come.
func TestPanelOfARunningJob(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	b := s.signedIn(s.token)
	path := b.run("/replicate/lora-training", url.Values{"instance_data": {"https://a.example/a.zip"}})
	store := predictions.New(s.svc.Ports)
	run, err := store.Start(t.Context(), idOf(path), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	run.Log("Previews are drawn at 50, 100 %.\n")
	for i := range 5 {
		run.Log(events.ProgressLine(10*(i+1), 100, time.Duration(i+1)*time.Second, fmt.Sprintf("loss=%.2f", 0.5-0.05*float64(i))))
	}
	run.Progress(events.Progress{Stage: "inversion", Done: 50, Total: 100})
	if err := run.Beat(t.Context()); err != nil {
		t.Fatal(err)
	}
	panel := b.page(path + "/panel")
	for _, want := range []string{"Learning the token", "50 of 100", "about 5 s left, then the tuning", `value="50"`, `class="smooth"`, "after 50 of 100 steps", `<span class="blank"></span><small>50 %`, "In training.", `data-status="processing"`, "6 lines"} {
		if !strings.Contains(panel, want) {
			t.Errorf("no %q in\n%s", want, panel)
		}
	}
	job := run.Job()
	put := func(name string) {
		if _, err := s.svc.Ports.Blobs.Put(t.Context(), job.OutputKey(name), strings.NewReader("png"), putPNG); err != nil {
			t.Fatal(err)
		}
	}
	put("preview-050.png")
	put("preview-077.png") // no one said that it would come
	if panel := b.page(path + "/panel"); strings.Count(panel, "preview-050.png") != 2 || strings.Count(panel, "<span class=\"blank\"></span>") != 1 || strings.Contains(panel, "077") {
		t.Errorf("of two previews one is there\n%s", panel)
	}
	put("preview-100.png")
	losses := "phase,step,loss,learning_rate,validation_loss\n"
	for i := range 100 {
		losses += fmt.Sprintf("inversion,%d,%.3f,1e-4,\n", i+1, 0.9-0.001*float64(i))
	}
	for i := range 50 {
		losses += fmt.Sprintf("tuning,%d,%.3f,1e-4,\n", i+1, 0.5-0.001*float64(i))
	}
	for name, text := range map[string]string{"loss.csv": losses, "tmpabcdefgha.safetensors": "x"} {
		if _, err := s.svc.Ports.Blobs.Put(t.Context(), job.OutputKey(name), strings.NewReader(text), infra.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := run.Succeed(t.Context(), events.OutputObject{Key: job.OutputKey("tmpabcdefgha.safetensors"), Size: 1}); err != nil {
		t.Fatal(err)
	}
	panel = b.page(path + "/panel")
	for _, want := range []string{"over 150 steps", "0.900", `href="/pbxt/` + job.OutputSecret + `/loss.csv"`, `<text x="66.7%"`, "preview-100.png"} {
		if !strings.Contains(panel, want) {
			t.Errorf("no %q in\n%s", want, panel)
		}
	}
	for _, list := range []string{"/", "/predictions", "/concepts"} {
		if !strings.Contains(b.page(list), "preview-100.png") {
			t.Errorf("%s: the concept has no picture", list)
		}
	}
	var p events.Prediction
	a := b.do("GET", "/v1"+path, http.Header{"Authorization": {"Bearer " + s.token}}, nil)
	if err := json.Unmarshal([]byte(a.body), &p); err != nil || fmt.Sprint(p.Output) != b.url+"/pbxt/"+job.OutputSecret+"/tmpabcdefgha.safetensors" {
		t.Errorf("clients see %v, %v", p.Output, err)
	}

	path = b.run("/replicate/lora", url.Values{"num_outputs": {"3"}})
	if run, err = store.Start(t.Context(), idOf(path), time.Minute); err != nil {
		t.Fatal(err)
	}
	job = run.Job()
	put("out-0.png")
	panel = b.page(path + "/panel")
	if strings.Count(panel, "<figure><a") != 1 || strings.Count(panel, `<figure class="blank">`) != 2 {
		t.Errorf("one picture and room for two\n%s", panel)
	}
}
