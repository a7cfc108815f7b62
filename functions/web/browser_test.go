package web_test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"image"
	"image/png"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api/apitest"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

var screens = flag.String("screens", "", "folder that the browser tests put pictures of the pages into")

// TestBrowser drives the pages in a real Chromium, over a service with a quick test runner. TestBrowserServe
// does it with the engine.
func TestBrowser(t *testing.T) {
	browser := launch(t)
	s := start(t, apitest.Options{Train: 1500 * time.Millisecond, Draw: 300 * time.Millisecond})
	files := t.TempDir()
	zipFile := filepath.Join(files, "neon-sign.zip")
	if err := os.WriteFile(zipFile, zipOf(t), 0o644); err != nil {
		t.Fatal(err)
	}
	in := func(t *testing.T, l look) *tab {
		p := open(t, browser, s.url, l, nil)
		p.signIn(s.token)
		return p
	}

	t.Run("TrainDrawCombine", func(t *testing.T) {
		p := in(t, desktop)
		trainDrawCombine(t, p, zipFile, "/replicate/lora-training", nil, false)
	})

	t.Run("PicturesBecomeAZip", func(t *testing.T) {
		p := in(t, desktop)
		var names []string
		for i := range 3 {
			name := filepath.Join(files, fmt.Sprintf("bild %d ä.png", i))
			var b bytes.Buffer
			if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 8+i, 8))); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, b.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		p.to("/replicate/lora-training")
		p.attach("#in-instance_data", names...)
		p.until("the zip has arrived", `document.querySelector("[name=instance_data]").value !== ""`)
		resp, err := s.browser().http.Get(eval[string](p, `document.querySelector("[name=instance_data]").value`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zip.NewReader(bytes.NewReader(body), int64(len(body)))
		if err != nil || len(z.File) != 3 {
			t.Fatalf("got %v", err)
		}
		for i, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			m, err := png.Decode(r)
			if err != nil || m.Bounds().Dx() != 8+i || f.Name != filepath.Base(names[i]) {
				t.Errorf("%s: %v", f.Name, err)
			}
		}
	})

	t.Run("NothingIsLostOnReload", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora-training")
		p.attach("#in-instance_data", zipFile)
		p.until("the zip has arrived", `document.querySelector("[name=instance_data]").value !== ""`)
		eval[bool](p, `document.querySelector("[name=task][value=style]").click() ?? true`)
		p.run(chromedp.Reload())
		p.ready()
		p.until("the draft is back", `document.querySelector("[name=instance_data]").value !== "" && document.querySelector(".file-name").textContent === "neon-sign.zip" && document.querySelector("[name=task]:checked").value === "style"`)
		p.click("form.inputs button[type=submit]")
		p.until("it runs", `document.querySelector("[data-panel]")?.dataset.status === "processing"`)
		where := p.path()
		p.run(chromedp.Reload())
		p.ready()
		if p.path() != where || !eval[bool](p, `["processing", "succeeded"].includes(document.querySelector("[data-panel]").dataset.status)`) {
			t.Errorf("after the reload: %s", p.state())
		}
		p.until("it is done", `document.querySelector(".made:not(.waiting)")`)
		p.to("/replicate/lora")
		p.fill("#in-prompt", "a draft")
		p.to("/replicate/lora/api")
		p.until("the code has the draft", `document.querySelector("#code").innerText.includes("a draft")`)
		p.follow(`[data-tab="demo"]`)
		if got := eval[string](p, `document.querySelector("#in-prompt").value`); got != "a draft" {
			t.Errorf("back from the code: got %q", got)
		}
		p.follow(".reset")
		if got := eval[string](p, `document.querySelector("#in-prompt").value`); got == "a draft" {
			t.Error("starting over keeps the draft")
		}
	})

	t.Run("Cancel", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora-training")
		p.attach("#in-instance_data", zipFile)
		p.click("form.inputs button[type=submit]") // it waits for the upload
		p.until("it can be canceled", `document.querySelector("[data-part=cancel] button")`)
		p.click("[data-part=cancel] button")
		p.until("it is canceled", `document.querySelector("[data-panel]").dataset.status === "canceled"`)
		if eval[bool](p, `Boolean(document.querySelector("[data-part=cancel] button"))`) {
			t.Error("it can be canceled again")
		}
	})

	t.Run("WrongInput", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora")
		p.fill("#in-num_outputs", "9")
		p.fill("#in-seed", "")
		p.click("form.inputs button[type=submit]")
		p.until("the error is beside its field", `document.querySelector("#err-num_outputs").textContent === "Use a whole number from 1 to 4." && document.activeElement.id === "in-num_outputs"`)
		if eval[string](p, `document.querySelector("#in-num_outputs").getAttribute("aria-invalid")`) != "true" || p.path() != "/replicate/lora" {
			t.Error("the field is not marked, or the page went on")
		}
		p.axe("with an error")
		eval[bool](p, `document.querySelectorAll("details.group")[0].open = true`)
		p.fill("#in-num_inference_steps", "0")
		eval[bool](p, `(document.querySelectorAll("details.group")[0].open = false, true)`)
		p.fill("#in-num_outputs", "1")
		p.click("form.inputs button[type=submit]")
		p.until("a closed group opens at its error", `document.querySelectorAll("details.group")[0].open && document.activeElement.id === "in-num_inference_steps"`)
		p.to("/replicate/lora-training")
		p.click("form.inputs button[type=submit]")
		p.until("a zip is asked for", `document.querySelector("#err-instance_data").textContent === "Choose a zip of pictures first."`)
	})

	t.Run("ExpiredSignIn", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora")
		p.fill("#in-prompt", "kept over a sign-in")
		docs, err := s.svc.Ports.Documents.List(t.Context(), "web-sessions", "", infra.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs.Items {
			if err := s.svc.Ports.Documents.Delete(t.Context(), d.Collection, d.Key, infra.AnyVersion); err != nil {
				t.Fatal(err)
			}
		}
		p.click("form.inputs button[type=submit]")
		p.until("it says so", `document.querySelector(".form-error a")?.textContent === "Sign in again"`)
		p.follow(".form-error a")
		p.fill("#token", s.token)
		p.follow("form.sign-in button")
		if got := eval[string](p, `document.querySelector("#in-prompt")?.value ?? location.href`); got != "kept over a sign-in" {
			t.Errorf("back at the form: got %q", got)
		}
	})

	t.Run("TwoTabs", func(t *testing.T) {
		a := in(t, desktop)
		b := open(t, browser, s.url, desktop, a)
		a.to("/replicate/lora")
		b.to("/replicate/lora")
		a.fill("#in-prompt", "from tab a")
		b.fill("#in-prompt", "from tab b")
		a.run(chromedp.Reload())
		a.ready()
		a.until("its own draft", `document.querySelector("#in-prompt").value === "from tab a"`)
		a.click("form.inputs button[type=submit]")
		a.until("it is done", `document.querySelector("[data-panel]")?.dataset.status === "succeeded"`)
		if b.path() != "/replicate/lora" || eval[string](b, `document.querySelector("#in-prompt").value`) != "from tab b" {
			t.Errorf("the other tab: %s", b.state())
		}
		where := a.path()
		a.to("/replicate/lora-training")
		a.attach("#in-instance_data", zipFile)
		a.click("form.inputs button[type=submit]")
		a.until("it runs", `document.querySelector("[data-panel]")`)
		running := a.path()
		b.to("/predictions")
		remove := func(path string) {
			b.click(fmt.Sprintf(`[data-delete="%s/delete"]`, path))
			b.until("the question", `document.querySelector("dialog[open]")`)
			b.axe("with a question")
			b.click("dialog .danger")
			b.until("the card is gone", fmt.Sprintf(`!document.querySelector('[data-delete="%s/delete"]')`, path))
		}
		remove(running)
		a.until("the other tab says that it is gone", `document.querySelector("[data-lost]").textContent === "This was deleted."`)
		remove(where)
	})

	t.Run("Keyboard", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora")
		p.run(chromedp.KeyEvent(kb.Tab))
		if got := eval[string](p, "document.activeElement.textContent"); got != "Skip to the content" {
			t.Errorf("the first stop is %q", got)
		}
		p.run(chromedp.KeyEvent(kb.Enter))
		p.until("the content has the focus", `document.activeElement.id === "main"`)
		p.run(chromedp.Focus(chromedp.CSS("#in-prompt")), chromedp.KeyEvent("\r", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
		p.until("Ctrl+Enter draws", `document.querySelector("[data-panel]")?.dataset.status === "succeeded"`)
		// Everything that acts can be reached, and none is reached without being seen.
		unseen := eval[[]string](p, `[...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")].filter((e) => e.tabIndex >= 0 && e.offsetParent && !e.closest("details:not([open]) > :not(summary)") && !e.disabled).filter((e) => { e.focus(); return document.activeElement !== e }).map((e) => e.outerHTML.slice(0, 80))`)
		if len(unseen) > 0 {
			t.Errorf("not to be reached: %v", unseen)
		}
		p.run(chromedp.Focus(chromedp.CSS("[data-delete]")), chromedp.KeyEvent("\r"))
		p.until("the question", `document.querySelector("dialog[open]")?.contains(document.activeElement)`)
		p.run(chromedp.KeyEvent(kb.Escape))
		p.until("Escape keeps it", `!document.querySelector("dialog")`)
	})

	t.Run("KeyboardOnly", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora-training")
		p.tabTo("#in-instance_data")
		p.attach("#in-instance_data", zipFile) // the system's dialog is no page
		p.until("the zip has arrived", `document.querySelector("[name=instance_data]").value !== ""`)
		p.tabTo("[name=task]:checked")
		p.run(chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent(kb.ArrowRight))
		if got := eval[string](p, `document.querySelector("[name=task]:checked").value`); got != "style" {
			t.Errorf("the arrows chose %q", got)
		}
		p.tabTo("form.inputs button[type=submit]")
		p.run(chromedp.KeyEvent("\r"))
		p.until("the result has the focus", `document.querySelector("[data-panel]") && document.querySelector("#result").contains(document.activeElement)`)
		p.until("it is done", `document.querySelector(".made:not(.waiting)")`)
		p.tabTo(".made a.primary")
		eval[bool](p, `window.old = true`)
		p.run(chromedp.KeyEvent("\r"))
		p.until("the form to draw with it", `!window.old && document.querySelector(".chosen li")`)
		p.ready()
		p.tabTo("#in-prompt")
		p.tabTo(".chosen .token")
		p.run(chromedp.KeyEvent("\r"))
		p.until("the token goes into the prompt", `document.activeElement.id === "in-prompt" && document.activeElement.value.split("<1>").length === 3`)
		p.tabTo("form.inputs button[type=submit]")
		p.run(chromedp.KeyEvent(" "))
		p.until("it is drawn", `document.querySelector("[data-panel]")?.dataset.status === "succeeded"`)
		p.tabTo("[data-delete]")
	})

	t.Run("LogAndWebhookStayText", func(t *testing.T) {
		s := start(t, apitest.Options{Idle: true})
		const evil = `<img src=x onerror=window.hit=1><script>window.hit=1</script></pre></dd>`
		a := s.browser().do("POST", "/v1/models/replicate/lora-training/predictions", http.Header{"Authorization": {"Bearer " + s.token}, "Content-Type": {"application/json"}},
			strings.NewReader(`{"input":{"instance_data":"https://a.example/a.zip"},"webhook":"https://a.example/<img/src=x/onerror=window.hit=1>"}`))
		var made events.Prediction
		if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != http.StatusCreated {
			t.Fatalf("%d %s", a.status, a.body)
		}
		run, err := predictions.New(s.svc.Ports).Start(t.Context(), made.ID, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		run.Log(evil + "\n")
		if err := run.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := open(t, browser, s.url, desktop, nil)
		p.signIn(s.token)
		p.to("/predictions/" + string(made.ID))
		run.Log("\"'" + evil + "\n") // comes through live.js
		if err := run.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.until("the log has both lines", `document.querySelector(".log").textContent.split("</dd>").length === 3`)
		if err := run.Fail(t.Context(), evil); err != nil {
			t.Fatal(err)
		}
		p.until("it has failed, and says why", `document.querySelector(".detail.failed")?.textContent.includes("<script>")`)
		if !eval[bool](p, `[...document.querySelectorAll(".settings dd")].some((d) => d.textContent.includes("<img"))`) {
			t.Error("the webhook's URL is not shown as text")
		}
		p.to("/predictions")
		if eval[bool](p, `window.hit === 1`) {
			t.Error("a text ran")
		}
	})

	t.Run("TextStaysText", func(t *testing.T) {
		p := in(t, desktop)
		const evil = `</textarea><img src=x onerror="window.hit=1"><script>window.hit=1</script>"'<b>`
		p.to("/replicate/lora")
		eval[bool](p, fmt.Sprintf(`(document.querySelector("#in-prompt").value = %q, true)`, evil))
		p.click("form.inputs button[type=submit]")
		p.until("it is done", `document.querySelector("[data-panel]")?.dataset.status === "succeeded"`)
		for _, path := range []string{p.path(), "/predictions", "/", "/replicate/lora/api"} {
			p.to(path)
			p.run(chromedp.Sleep(200 * time.Millisecond))
			if eval[bool](p, `window.hit === 1`) {
				t.Errorf("%s: the text ran", path)
			}
		}
		// A file's name.
		name := filepath.Join(files, `<img src=x onerror=window.hit=1>.zip`)
		if err := os.WriteFile(name, zipOf(t), 0o644); err != nil {
			t.Fatal(err)
		}
		p.to("/replicate/lora-training")
		p.attach("#in-instance_data", name)
		p.until("it has arrived", `document.querySelector("[name=instance_data]").value !== ""`)
		p.click("form.inputs button[type=submit]")
		p.until("it is done", `document.querySelector(".made:not(.waiting)")`)
		p.to("/predictions")
		if eval[bool](p, `window.hit === 1`) {
			t.Error("the file's name ran")
		}
	})

	t.Run("ConnectionLost", func(t *testing.T) {
		p := in(t, desktop)
		p.to("/replicate/lora-training")
		p.attach("#in-instance_data", zipFile)
		p.click("form.inputs button[type=submit]")
		p.until("it runs", `document.querySelector("[data-panel]")`)
		eval[bool](p, `(window.real = window.fetch, window.fetch = () => Promise.reject(new TypeError("no network")), true)`)
		p.until("it says so", `document.querySelector("[data-lost]").textContent.startsWith("The connection is lost")`)
		eval[bool](p, `(window.fetch = window.real, true)`)
		p.until("it goes on", `document.querySelector(".made:not(.waiting)") && document.querySelector("[data-lost]").hidden`)
	})

	t.Run("WithoutScripts", func(t *testing.T) {
		path := s.signedIn(s.token).run("/replicate/lora", url.Values{"prompt": {"without scripts"}})
		l := desktop
		l.noScript = true
		p := open(t, browser, s.url, l, nil)
		p.run(chromedp.Navigate(s.url+"/sign-in?next="+path), chromedp.SendKeys(chromedp.CSS("#token"), s.token+"\r"))
		// Without scripts the page itself comes again until it is done; evaluation by the test still works.
		p.run(chromedp.WaitVisible(chromedp.CSS(".pill.succeeded")), chromedp.WaitVisible(chromedp.CSS(".pictures img")))
		for _, c := range []struct{ path, want string }{
			{"/", "Train a concept"}, {"/predictions", "without scripts"}, {"/replicate/lora/api", "Authorization: Bearer"}, {"/replicate/lora-advanced-training", "Learning rates"}, {"/examples", "Dots"},
		} {
			p.run(chromedp.Navigate(s.url + c.path))
			if !p.shows(c.want) {
				t.Errorf("%s: no %q", c.path, c.want)
			}
		}
		p.run(chromedp.Navigate(s.url + "/replicate/lora"))
		if !eval[bool](p, `Boolean(document.querySelector("#in-lora_urls").offsetParent)`) {
			t.Error("addresses of concepts cannot be given")
		}
		p.run(chromedp.SendKeys(chromedp.CSS("#in-prompt"), " by post"), chromedp.Click(chromedp.CSS("form.inputs button[type=submit]")))
		p.run(chromedp.WaitVisible(chromedp.CSS(".pill.succeeded")), chromedp.WaitVisible(chromedp.CSS(".pictures img")))
		p.run(chromedp.Navigate(s.url + "/replicate/lora-training"))
		p.attach("#in-instance_data", zipFile)
		p.run(chromedp.Click(chromedp.CSS("form.inputs button[type=submit]")), chromedp.WaitVisible(chromedp.CSS(".made:not(.waiting) a.primary")))
	})
}
