package web_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// trainDrawCombine goes the way of the issue: drop a zip, watch, see the concept, draw with it, combine two. set
// changes the form of the training before it is sent; previews says that it draws some.
func trainDrawCombine(t *testing.T, p *tab, zipFile, trainer string, set func(), previews bool) {
	p.to(trainer)
	p.shot("train")
	p.drop("[data-zip]", zipFile)
	p.until("the zip has arrived", `document.querySelector("[name=instance_data]").value !== ""`)
	if set != nil {
		set()
	}
	p.click("form.inputs button[type=submit]")
	p.until("it is in line", `location.pathname.startsWith("/predictions/") && document.querySelector("[data-panel]")`)
	p.until("it runs", `document.querySelector("[data-panel]").dataset.status === "processing" && Number(document.querySelector("[data-panel]").dataset.percent) > 0`)
	first := eval[int](p, `Number(document.querySelector("[data-panel]").dataset.percent)`)
	stage := eval[string](p, `document.querySelector("[data-part=state] b").textContent`)
	p.until("it has moved on", fmt.Sprintf(`(() => { const d = document.querySelector("[data-panel]"); return Number(d.dataset.percent) > %d || d.querySelector("[data-part=state] b")?.textContent !== %q })()`, first, stage))
	if !eval[bool](p, `document.querySelector("[data-part=log]").textContent.includes("%|")`) {
		t.Error("no log while it runs")
	}
	p.until("its percentage stands in the title, or it is done", `/^\d+ % · /.test(document.title) || document.querySelector(".made:not(.waiting)")`)
	if previews {
		p.until("a preview is there while it runs, and places for others", `document.querySelector(".previews a img")?.naturalWidth > 0 && document.querySelector(".previews .blank") && document.querySelector("[data-panel]").dataset.status === "processing"`)
		p.until("the loss is drawn while it runs", `document.querySelector(".chart .smooth") && document.querySelector("[data-panel]").dataset.status === "processing"`)
		p.axe("the page of a training under way")
	}
	if *screens != "" {
		p.until("three previews are there", `document.querySelectorAll(".previews img").length === 3`)
	}
	p.shot("training")
	p.until("the concept is there", `document.querySelector(".made:not(.waiting)")`)
	most := 0.0
	if !previews {
		most = 0.1 // the places that most trainings need are given up
	}
	p.settled("the training's page", most)
	p.axe("the training's page")
	if previews && !eval[bool](p, `!document.querySelector(".previews .blank") && document.querySelectorAll(".previews img").length >= 2 && document.querySelector(".made .thumb img").naturalWidth > 0 && Boolean(document.querySelector('.chart a[download="loss.csv"]'))`) {
		t.Error("after the training previews, the picture of the concept or its losses are not there")
	}
	p.shot("trained")
	name := eval[string](p, `document.querySelector(".made h2").textContent`)
	if name != "neon-sign" {
		t.Errorf("the concept is called %q", name)
	}

	p.follow(".made .primary")
	if got := eval[string](p, `document.querySelector("[name=lora_urls]").value`); !strings.Contains(got, "neon-sign.safetensors") {
		t.Fatalf("draw with this: lora_urls is %q", got)
	}
	p.fill("#in-num_outputs", "2")
	p.click("form.inputs button[type=submit]")
	p.until("both pictures are there", `document.querySelectorAll(".pictures img").length === 2 && [...document.querySelectorAll(".pictures img")].every((i) => i.complete && i.naturalWidth > 0)`)
	p.until("it is done", `document.querySelector("[data-panel]").dataset.status === "succeeded"`)
	p.settled("the pictures' page", 0)
	p.axe("the pictures' page")
	p.shot("drawn")

	// A second concept, of those that ship, with its own scale and token.
	shipped := eval[string](p, `[...document.querySelectorAll(".pick option")].findLast((o) => o.textContent.includes("ships"))?.value ?? ""`)
	if shipped == "" {
		t.Fatal("no concept that ships can be chosen")
	}
	p.pick(".pick select", shipped)
	p.until("two rows", `document.querySelectorAll(".chosen li").length === 2`)
	eval[bool](p, `(document.querySelector("#in-prompt").value = "a cat in the style of <1>, ", true)`)
	p.run(chromedp.Focus(chromedp.CSS("#in-prompt")), chromedp.KeyEvent(kb.End))
	p.click(".chosen li:nth-child(2) .token")
	if got := eval[string](p, `document.querySelector("#in-prompt").value`); !strings.HasSuffix(got, "<2>") {
		t.Errorf("the prompt: got %q", got)
	}
	before := p.path()
	p.click("form.inputs button[type=submit]")
	p.until("another prediction", fmt.Sprintf(`location.pathname !== %q`, before))
	p.until("it is done", `document.querySelector("[data-panel]")?.dataset.panel === location.pathname + "/panel" && document.querySelector("[data-panel]").dataset.status === "succeeded"`)
	if got := eval[string](p, `[...document.querySelectorAll(".settings dt")].find((d) => d.textContent === "lora_urls").nextElementSibling.textContent`); strings.Count(got, "|") != 1 {
		t.Errorf("lora_urls: got %q", got)
	}
	p.shot("combined")
	p.run(chromedp.NavigateBack())
	p.until("going back leads to the picture before", fmt.Sprintf(`location.pathname === %q && document.querySelector("[data-panel]")?.dataset.panel.startsWith(%q)`, before, before))
	p.to("/concepts")
	p.settled("/concepts", 0)
	p.shot("concepts")
}
