package web_test

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/lowrank/lowrank/samples"
)

// lowrankServe builds the program, starts it on a free port over an empty folder, and returns where it is and a
// token.
func lowrankServe(t *testing.T) (url, token string) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "lowrank")
	build := exec.Command(tool(t, "go"), "build", "-o", program, "../../scripts/lowrank")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data := filepath.Join(dir, "data")
	made, err := exec.Command(program, "token", "create", "--data", data).Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--data", data, "--addr", "127.0.0.1:0")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("lowrank serve ended with %v", err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(line, "serves ")
	url, _, _ = strings.Cut(rest, ",")
	if !strings.HasPrefix(url, "http://127.0.0.1:") {
		t.Fatalf("lowrank serve said %q", line)
	}
	return url, strings.TrimSpace(string(made))
}

// TestBrowserServe goes the whole way with the real program and its embedded base: `lowrank serve`, a zip of
// pictures, a concept, pictures with it and with one that ships. With -screens it trains with the preset, and
// keeps pictures of the pages.
func TestBrowserServe(t *testing.T) {
	browser := launch(t)
	url, token := lowrankServe(t)
	pictures, err := samples.Zip(samples.NeonSign)
	if err != nil {
		t.Fatal(err)
	}
	zipFile := filepath.Join(t.TempDir(), "neon-sign.zip")
	if err := os.WriteFile(zipFile, pictures, 0o644); err != nil {
		t.Fatal(err)
	}
	l := desktop
	if *screens != "" {
		l.height = 1180 // all of a training
	}
	p := open(t, browser, url, l, nil)
	p.to("/")
	p.settled("/", 0)
	p.shot("start")
	p.to("/sign-in")
	p.axe("/sign-in")
	p.shot("sign-in")
	p.signIn(token)
	p.to("/examples")
	p.settled("/examples", 0)
	p.shot("examples")

	trainer, set := "/replicate/lora-advanced-training", func() {
		p.pick("[name=use_template][value=style]", "style")
		eval[bool](p, `(document.querySelector("[name=use_template][value=style]").checked = true)`)
		// As many steps as two previews take.
		p.fill("#in-max_train_steps_ti", "84")
		p.fill("#in-max_train_steps_tuning", "126")
		p.fill("#in-gradient_accumulation_steps", "1")
		p.fill("#in-train_batch_size", "4")
	}
	if *screens != "" {
		trainer, set = "/replicate/lora-training", func() {
			eval[bool](p, `(document.querySelector("[name=task][value=style]").checked = true)`)
		}
	}
	trainDrawCombine(t, p, zipFile, trainer, set, true)
	small := open(t, browser, url, phone, nil)
	small.signIn(token)
	small.to("/predictions?kind=trainings")
	small.follow(".card h2 a")
	small.settled("a training's page on a phone", 0)
	small.axe("a training's page on a phone")
	p.to("/examples")
	p.until("the sheets of five concepts are there", `(() => { const sheets = [...document.querySelectorAll(".shelf .sheet img")]; sheets.forEach((i) => { i.loading = "eager" }); return sheets.length >= 5 && sheets.every((i) => i.complete && i.naturalWidth > 0) })()`)
	p.follow(".shown .primary") // one click tries it
	p.follow(".tries a")        // one more combines two
	p.click("form.inputs button[type=submit]")
	p.until("it is drawn", `document.querySelector("[data-panel]")?.dataset.status === "succeeded" && [...document.querySelectorAll(".pictures img")].every((i) => i.complete && i.naturalWidth > 0)`)
	if got := eval[int](p, `document.querySelectorAll(".chosen li").length`); got != 2 {
		t.Errorf("%d concepts were combined", got)
	}
	if *screens == "" {
		return
	}

	p.to("/replicate/lora")
	p.fill("#in-prompt", "a frog")
	p.fill("[name=image]", "https://127.0.0.1/frog.png")
	p.click("form.inputs button[type=submit]")
	p.until("it has failed", `document.querySelector("[data-panel]")?.dataset.status === "failed"`)
	p.shot("failed")
	p.to("/replicate/lora-training")
	p.attach("#in-instance_data", zipFile)
	p.click("form.inputs button[type=submit]")
	p.until("its loss is drawn", `document.querySelector(".chart .smooth")`)
	p.click("[data-part=cancel] button")
	p.until("it is canceled", `document.querySelector("[data-panel]").dataset.status === "canceled"`)
	p.shot("canceled")
	p.to("/predictions")
	p.shot("predictions")
	p.click(".trash")
	p.until("the question", `document.querySelector("dialog[open]")`)
	p.shot("delete")
	p.to("/predictions?q=nothing")
	p.shot("empty")
	p.to("/replicate/lora/api")
	for _, language := range []string{"curl", "python", "node", "go"} {
		p.click("label[for=lang-" + language + "]")
		p.shot("api-" + language)
	}
	p.to("/replicate/lora/versions")
	p.shot("versions")
	p.to("/replicate/lora-advanced-training")
	eval[bool](p, `(document.querySelectorAll("details.group").forEach((d, i) => { d.open = i < 2 }), true)`)
	p.shot("advanced")
	p.fill("#in-lora_rank", "999")
	p.fill("#in-max_train_steps_ti", "0")
	p.click("form.inputs button[type=submit]")
	p.run(chromedp.Sleep(500 * time.Millisecond))
	p.shot("wrong")
	p.to("/nothing")
	p.shot("missing")
	for name, l := range map[string]look{"dark": {width: 1280, height: 860, dark: true}, "phone": {width: 320, height: 1100}, "tablet": {width: 768, height: 1024}} {
		other := open(t, browser, url, l, nil)
		other.signIn(token)
		other.to("/")
		other.shot("start-" + name)
		if l.width == phone.width {
			other.to("/replicate/lora?with=neon-sign&with=lowie")
			other.shot("draw-" + name)
		}
		other.to("/predictions?kind=trainings&status=done")
		other.follow(".card h2 a")
		other.shot("trained-" + name)
		other.to("/predictions")
		other.shot("predictions-" + name)
	}
}
