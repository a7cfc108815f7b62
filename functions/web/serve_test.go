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
	if *screens == "" {
		return
	}

	p.to("/predictions")
	p.shot("predictions")
	p.to("/replicate/lora/api")
	p.shot("api")
	p.to("/replicate/lora-advanced-training")
	p.fill("#in-lora_rank", "999")
	p.fill("#in-max_train_steps_ti", "0")
	p.click("form.inputs button[type=submit]")
	p.run(chromedp.Sleep(500 * time.Millisecond))
	p.shot("wrong")
	p.to("/nothing")
	p.shot("missing")
	for name, l := range map[string]look{"dark": {width: 1280, height: 860, dark: true}, "phone": {width: 320, height: 1100}} {
		other := open(t, browser, url, l, nil)
		other.signIn(token)
		other.to("/")
		other.shot("start-" + name)
		if !l.dark {
			other.to("/replicate/lora?with=neon-sign&with=lowie")
			other.shot("draw-" + name)
		}
		other.to("/predictions?kind=trainings")
		other.follow(".card h2 a")
		other.shot("trained-" + name)
		other.to("/predictions")
		other.shot("predictions-" + name)
	}
}
