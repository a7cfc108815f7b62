package web_test

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/lowrank/lowrank/functions/api/apitest"
)

// copied makes the page keep what it copies: a test reads no clipboard.
const copied = `(navigator.clipboard.writeText = async (text) => { window.copied = text }, true)`

// TestBrowserOwn does with a visitor's own what the pages offer: filter, copy, use again, draw with, delete; and
// takes the code of each language.
func TestBrowserOwn(t *testing.T) {
	browser := launch(t)
	s := start(t, apitest.Options{Train: 50 * time.Millisecond, Draw: 10 * time.Millisecond})
	me := s.signedIn(s.token)
	needle := me.run("/replicate/lora", url.Values{"prompt": {"a needle"}, "num_outputs": {"2"}, "seed": {"5"}, "guidance_scale": {"3"}})
	me.ended(needle)
	me.ended(me.run("/replicate/lora", url.Values{"prompt": {"a haystack"}}))
	p := open(t, browser, s.url, desktop, nil)
	p.signIn(s.token)

	t.Run("Filter", func(t *testing.T) {
		p.to("/predictions")
		if n := eval[int](p, `document.querySelectorAll("[data-item]").length`); n != 2 {
			t.Fatalf("got %d cards", n)
		}
		p.fill("[name=q]", "NEEDLE")
		p.pick("[name=kind]", "pictures")
		p.pick("[name=status]", "done")
		p.follow(".filters button")
		if n := eval[int](p, `document.querySelectorAll("[data-item]").length`); n != 1 || !p.shows("a needle") {
			t.Errorf("got %d cards: %s", n, p.state())
		}
		if got := eval[string](p, `[...document.querySelectorAll(".filters :is(input, select)")].map((e) => e.value).join()`); got != "NEEDLE,pictures,done" {
			t.Errorf("the filter forgets what it is: %s", got)
		}
	})

	t.Run("Copy", func(t *testing.T) {
		eval[bool](p, copied)
		p.click("[data-item] [data-copy]")
		p.until("it says so", `document.querySelector(".toast.on")?.textContent === "Copied"`)
		address := eval[string](p, "window.copied")
		if got := s.browser().get(strings.TrimPrefix(address, s.url)); !strings.HasPrefix(address, s.url) || got.header.Get("Content-Type") != "image/png" {
			t.Errorf("copied %q, which gives %d", address, got.status)
		}
		p.to(needle)
		// A page that came without TLS has no clipboard to write to.
		eval[bool](p, `(navigator.clipboard.writeText = () => Promise.reject(new Error("no")), addEventListener("copy", () => { window.copied = document.activeElement.value }), true)`)
		p.click(".pictures figure:nth-child(2) [data-copy]")
		p.until("it says so", `document.querySelector(".toast.on")?.textContent === "Copied"`)
		if got := eval[string](p, "window.copied"); !strings.HasPrefix(got, s.url+"/pbxt/") || got == address {
			t.Errorf("copied %q", got)
		}
	})

	t.Run("UseAgain", func(t *testing.T) {
		p.to(needle)
		p.follow(`[data-part=actions] a[href*="from="]`)
		for field, want := range map[string]string{"prompt": "a needle", "num_outputs": "2", "seed": "5", "guidance_scale": "3"} {
			if got := eval[string](p, fmt.Sprintf(`document.querySelector("#in-%s").value`, field)); got != want {
				t.Errorf("%s: got %q, want %q", field, got, want)
			}
		}
		if !eval[bool](p, `document.querySelector("#in-seed").closest("details").open`) {
			t.Error("what was chosen is in a closed group")
		}
	})

	t.Run("CodeOfEachLanguage", func(t *testing.T) {
		p.to("/replicate/lora")
		p.fill("#in-prompt", tricky)
		typed := eval[string](p, `document.querySelector("#in-prompt").value`)
		p.follow(`[data-tab=api]`)
		p.until("the code has the draft", `document.querySelector("#code").textContent.includes("$HOME")`)
		want := s.browser().snippetsOf("/replicate/lora", url.Values{"prompt": {typed}})
		for _, language := range []string{"curl", "python", "node", "go"} {
			eval[bool](p, copied)
			p.click("label[for=lang-" + language + "]")
			p.until("its code is shown alone", fmt.Sprintf(`[...document.querySelectorAll(".code")].filter((e) => e.offsetParent).map((e) => e.dataset.code).join() === %q`, language))
			p.click("[data-code=" + language + "] [data-copy-code]")
			p.until("it is copied", `window.copied`)
			if got := eval[string](p, "window.copied"); got != code(want, language) {
				t.Errorf("%s: copied\n%s\nwant\n%s", language, got, code(want, language))
			}
			p.settled(language, 0)
		}
		p.run(chromedp.Reload())
		p.ready()
		p.until("the language stays chosen", `document.querySelector("#lang-go").checked`)
		p.to("/replicate/lora/api?from=" + string(idOf(needle)))
		if !p.shows(`"a needle"`) || p.shows("$HOME") {
			t.Error("the code of a prediction has another's values")
		}
	})

	t.Run("TryAndCombine", func(t *testing.T) {
		training := me.run("/replicate/lora-training", url.Values{"instance_data": {me.uploaded(zipOf(t))}, "task": {"style"}})
		me.ended(training)
		p.to("/examples")
		p.follow("#dots .primary")
		if got := eval[string](p, `document.querySelector("[name=lora_urls]").value`); !strings.HasSuffix(got, "/dots.safetensors") {
			t.Errorf("try it: lora_urls is %q", got)
		}
		p.to("/concepts")
		p.follow(`.tools a[href*="with="]`)
		if got := eval[string](p, `document.querySelector(".chosen .name").textContent`); got != "neon-sign" {
			t.Errorf("draw with this: %q", got)
		}
		p.follow(".tries a") // one click more
		if got := eval[int](p, `document.querySelectorAll(".chosen li").length`); got != 2 {
			t.Errorf("combined: %d", got)
		}
	})

	t.Run("Delete", func(t *testing.T) {
		p.to(needle)
		p.click("[data-part=actions] [data-delete]")
		p.until("the question", `document.querySelector("dialog[open]")`)
		p.click("dialog [value=no]")
		p.until("it is kept", `!document.querySelector("dialog")`)
		p.click("[data-part=actions] [data-delete]")
		p.until("the question", `document.querySelector("dialog[open]")`)
		p.click("dialog .danger")
		p.until("the list", `location.pathname === "/predictions" && document.querySelector(".cards")`)
		if p.shows("a needle") {
			t.Error("the list still has it")
		}
		if a := me.get(needle); a.status != 404 {
			t.Errorf("afterwards: got %d", a.status)
		}
	})
}
