package web_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// chromium finds the browser, or ends the test. LOWRANK_CHROMIUM names another one.
func chromium(t *testing.T) string {
	t.Helper()
	if !required("browser") {
		t.Skip("minutes in a real browser: LOWRANK_REQUIRE=browser runs it")
	}
	for _, name := range []string{os.Getenv("LOWRANK_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	t.Fatal("LOWRANK_REQUIRE asks for browser, but there is no Chromium: install it, or name it in LOWRANK_CHROMIUM")
	return ""
}

// launch starts one Chromium for a test; tabs are opened in it.
func launch(t *testing.T) context.Context {
	t.Helper()
	options := append([]chromedp.ExecAllocatorOption{}, chromedp.DefaultExecAllocatorOptions[:]...)
	options = append(options, chromedp.ExecPath(chromium(t)), chromedp.UserDataDir(t.TempDir()), chromedp.DisableGPU, chromedp.NoFirstRun,
		chromedp.NoSandbox, // the pages are ours; neither root nor every system lets Chromium make its sandbox
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("hide-scrollbars", true), chromedp.WSURLReadTimeout(time.Minute))
	allocator, stop := chromedp.NewExecAllocator(t.Context(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(func() { cancel(); stop() })
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("Chromium does not start: %v", err)
	}
	return ctx
}

// look is how a tab sees the pages.
type look struct {
	width, height int64
	dark          bool
	noScript      bool
}

var desktop, phone = look{width: 1280, height: 860}, look{width: 320, height: 640}

// tab is one tab of a real browser, in a profile of its own unless it shares another's.
type tab struct {
	*testing.T
	ctx  context.Context
	url  string
	look look

	mu     sync.Mutex
	errors []string // what the page complained of
}

// watch is in every page: it adds up the layout's shifts and notes what the policy refused.
const watch = `
window.shift = 0; window.refused = []; window.moved = [];
const name = (n) => n ? n.nodeName + "." + (n.className ?? "") + " " + (n.textContent ?? "").trim().slice(0, 20) : "something gone";
new PerformanceObserver((l) => { for (const e of l.getEntries()) if (!e.hadRecentInput) { window.shift += e.value; for (const s of e.sources) window.moved.push(name(s.node) + ": " + [s.previousRect.x, s.previousRect.y, "to", s.currentRect.x, s.currentRect.y].join(" ")); } }).observe({ type: "layout-shift", buffered: true });
document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.violatedDirective + " " + e.blockedURI));
`

// open opens a tab. With beside, it shares that tab's profile: its cookies, not its session storage.
func open(t *testing.T, browser context.Context, url string, l look, beside *tab) *tab {
	t.Helper()
	var ctx context.Context
	var cancel context.CancelFunc
	if beside == nil {
		ctx, cancel = chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	} else {
		ctx, cancel = chromedp.NewContext(beside.ctx)
	}
	p := &tab{T: t, ctx: ctx, url: url, look: l}
	t.Cleanup(func() {
		cancel()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, e := range p.errors {
			t.Errorf("the page complains: %s", e)
		}
	})
	// The first call opens the tab, which lives as long as that call's context: it has no time limit.
	err := chromedp.Listen(ctx, func(ev any) {
		p.mu.Lock()
		defer p.mu.Unlock()
		switch ev := ev.(type) {
		case *runtime.EventExceptionThrown:
			p.errors = append(p.errors, exceptionText(ev.ExceptionDetails))
		case *log.EventEntryAdded:
			// What the network says is judged where it is expected.
			if ev.Entry.Level == log.EntryLevelError && ev.Entry.Source != log.EntrySourceNetwork {
				p.errors = append(p.errors, ev.Entry.Text)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	scheme := "light"
	if l.dark {
		scheme = "dark"
	}
	p.run(
		command(log.Enable, cdp.Empty{}),
		chromedp.EmulateViewport(l.width, l.height),
		command(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}}}),
		command(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: l.noScript}),
		command(page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watch}),
	)
	return p
}

// command is a command of the protocol whose answer says nothing.
func command[P, R any](c cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, c, params)
		return err
	})
}

func exceptionText(d *runtime.ExceptionDetails) string {
	if d.Exception != nil && d.Exception.Description != "" {
		return d.Exception.Description
	}
	return d.Text
}

// run does browser actions within half a minute.
func (p *tab) run(actions ...chromedp.Action[chromedp.Void]) {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		p.Fatalf("%v\n%s", err, p.state())
	}
}

// state says where the tab is, for failures.
func (p *tab) state() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + (document.querySelector("main")?.innerText ?? "")`))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("at %.600s", strings.Join(strings.Fields(text), " "))
}

// to opens a path and waits until the page's scripts have run.
func (p *tab) to(path string) {
	p.Helper()
	p.run(chromedp.Navigate(p.url + path))
	p.ready()
}

func (p *tab) ready() {
	p.Helper()
	p.until("the page is there", `document.readyState === "complete" && document.querySelector("main")`)
}

// eval runs a script and returns what it says; a promise is waited for.
func eval[T any](p *tab, script string) T {
	p.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](script, func(e *runtime.EvaluateParams) { e.AwaitPromise = new(true) }))
	if err != nil {
		p.Fatalf("%v\n%s", err, p.state())
	}
	return v
}

// until waits for a condition, over changes of the page, or ends the test with what the page shows. While a job of the
// page goes on, however slowly, it waits on.
func (p *tab) until(what, condition string) {
	p.Helper()
	deadline, last := time.Now().Add(patience), ""
	for {
		ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
		seen, err := chromedp.Run(ctx, chromedp.Evaluate[string]("(("+condition+") ? \"met\" : \"\") + (document.querySelector(\"[data-part=log-count]\")?.textContent ?? \"\")"))
		cancel()
		if strings.HasPrefix(seen, "met") {
			return
		}
		if seen != last {
			deadline, last = time.Now().Add(patience), seen
		}
		if time.Now().After(deadline) || p.ctx.Err() != nil {
			p.Fatalf("waited in vain until %s (%v)\n%s", what, err, p.state())
		}
		time.Sleep(40 * time.Millisecond)
	}
}

// patience is how long a page may stand still before a test gives up.
const patience = 3 * time.Minute

// click clicks what a selector finds.
func (p *tab) click(selector string) {
	p.Helper()
	p.run(chromedp.ScrollIntoView(chromedp.CSS(selector)), chromedp.Click(chromedp.CSS(selector)))
}

// follow clicks a link and waits for its page.
func (p *tab) follow(selector string) {
	p.Helper()
	eval[bool](p, `window.old = true`)
	p.click(selector)
	p.until("another page is there", `!window.old && document.readyState === "complete"`)
	p.ready()
}

// fill types over a field's value.
func (p *tab) fill(selector, text string) {
	p.Helper()
	if !eval[bool](p, fmt.Sprintf(`(() => { const e = document.querySelector(%q); for (let d = e.closest("details"); d; d = d.parentElement.closest("details")) d.open = true; e.focus(); e.select(); return document.execCommand(%q === "" ? "delete" : "insertText", false, %q) || e.value === %q })()`, selector, text, text, text)) {
		p.Errorf("%s cannot be filled in", selector)
	}
}

// pick chooses an option of a select, as a user does.
func (p *tab) pick(selector, value string) {
	p.Helper()
	eval[bool](p, fmt.Sprintf(`(() => { const s = document.querySelector(%q); s.value = %q; s.dispatchEvent(new Event("input", {bubbles: true})); s.dispatchEvent(new Event("change", {bubbles: true})); return true })()`, selector, value))
}

// attach gives files to a file field: a drop does the same.
func (p *tab) attach(selector string, files ...string) {
	p.Helper()
	p.run(chromedp.SetUploadFiles(chromedp.CSS(selector), files))
}

// drop drags files onto what a selector finds, and lets them go there.
func (p *tab) drop(selector string, files ...string) {
	p.Helper()
	p.run(chromedp.ScrollIntoView(chromedp.CSS(selector)))
	at := eval[[]float64](p, fmt.Sprintf(`(() => { const r = document.querySelector(%q).getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()`, selector))
	for _, step := range []input.DispatchDragEventType{input.DispatchDragEventTypeDragEnter, input.DispatchDragEventTypeDragOver, input.DispatchDragEventTypeDrop} {
		p.run(command(input.DispatchDragEvent, input.DispatchDragEventParams{Type: step, X: at[0], Y: at[1], Data: &input.DragData{Items: []*input.DragDataItem{}, Files: files, DragOperationsMask: 1}}))
	}
}

// tabTo presses the Tab key until the focus is where a selector says, as someone without a mouse does.
func (p *tab) tabTo(selector string) {
	p.Helper()
	for range 80 {
		p.run(chromedp.KeyEvent(kb.Tab))
		if eval[bool](p, fmt.Sprintf(`document.activeElement.matches(%q)`, selector)) {
			return
		}
	}
	p.Fatalf("the Tab key does not lead to %s\n%s", selector, p.state())
}

// path is where the tab is.
func (p *tab) path() string { return eval[string](p, "location.pathname + location.search") }

// shows reports whether the page's text holds a text.
func (p *tab) shows(text string) bool {
	return eval[bool](p, fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

// signIn signs in with a link, as the server prints one.
func (p *tab) signIn(token string) {
	p.Helper()
	p.to("/examples") // the link leads on before its page has loaded: so it is followed from another
	eval[bool](p, fmt.Sprintf("(location.href = %q, true)", "/sign-in#"+token))
	p.until("signed in", `document.querySelector(".owner") && document.readyState === "complete"`)
	if hash := eval[string](p, "location.href"); strings.Contains(hash, token) {
		p.Error("the token stays in the address bar")
	}
}

// settled holds a page to a quiet layout, to its width, and to what the policy allows. most is how much of the
// layout may have moved (the sum of Chromium's layout shifts).
func (p *tab) settled(where string, most float64) {
	p.Helper()
	p.run(chromedp.Sleep(150 * time.Millisecond))
	if shift := eval[float64](p, "window.shift"); shift > most {
		p.Errorf("%s: the layout shifts by %.3f: %s", where, shift, strings.Join(eval[[]string](p, "window.moved"), "; "))
	}
	if wide := eval[int](p, "document.scrollingElement.scrollWidth - innerWidth"); wide > 0 {
		p.Errorf("%s: %d pixels wider than the window: %s", where, wide, eval[string](p, `[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll, .tabs, nav, pre, .previews")).slice(0, 5).map(e => e.tagName + "." + e.className).join(", ")`))
	}
	if others := eval[[]string](p, `performance.getEntriesByType("resource").map((e) => e.name).filter((u) => /^[a-z]+:\/\//.test(u) && new URL(u).origin !== location.origin)`); len(others) > 0 {
		p.Errorf("%s: it asks other hosts: %v", where, others)
	}
	if refused := eval[[]string](p, "window.refused"); len(refused) > 0 {
		p.Errorf("%s: the policy refused %v", where, refused)
	}
}

// axe checks accessibility with axe-core, which scripts/axe/fetch brings.
func (p *tab) axe(where string) {
	p.Helper()
	source, err := os.ReadFile(filepath.Join("..", "..", ".cache", "axe", "axe.min.js"))
	if errors.Is(err, os.ErrNotExist) {
		p.Fatal("axe-core is not there: run scripts/axe/fetch")
	}
	if err != nil {
		p.Fatal(err)
	}
	p.run(chromedp.Evaluate[chromedp.Void](string(source)))
	found := eval[[]string](p, `axe.run(document, { resultTypes: ["violations"] }).then((r) => r.violations.filter((v) => v.impact !== "minor").map((v) => v.id + " (" + v.impact + "): " + v.help + ": " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? "")).join("; ")))`)
	for _, f := range found {
		p.Errorf("%s: %s", where, f)
	}
}

// shot keeps a picture of the window, if -screens says where.
func (p *tab) shot(name string) {
	p.Helper()
	if *screens == "" {
		return
	}
	p.run(chromedp.Sleep(400 * time.Millisecond))
	picture, err := chromedp.Run(p.ctx, func(ctx context.Context, target *chromedp.Target) ([]byte, error) {
		quality := int64(56)
		clip := &page.Viewport{Width: float64(p.look.width), Height: float64(p.look.height), Scale: 0.8}
		if p.look.width < 800 {
			clip.Scale = 1
		}
		r, err := cdp.Call(ctx, target, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: page.CaptureScreenshotFormatJpeg, Quality: &quality, Clip: clip})
		return r.Data, err
	})
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screens, name+".jpg"), picture, 0o644); err != nil {
		p.Fatal(err)
	}
}
