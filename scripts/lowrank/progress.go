package main

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"
	"golang.org/x/term"
)

// progress shows how far a piece of work is: a bar on a terminal, plain lines
// elsewhere.
type progress struct {
	out   io.Writer
	label string

	container *mpb.Progress
	bar       *mpb.Bar
	beside    atomic.Value // string, what stands beside the bar, which draws when it likes
	shown     time.Time    // the last line, which said last
	last      string

	// The pace is measured from the first step that is told on: work that goes
	// on where another process stopped did not do the steps before.
	begun   time.Time
	begunAt int
}

// linePause is between two lines where there is no terminal.
const linePause = 5 * time.Second

// newProgress shows work called label on out. A terminal that cannot move its
// cursor gets lines too.
func newProgress(out io.Writer, label string) *progress {
	p := &progress{out: out, label: label, begun: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb" {
		p.container = mpb.New(mpb.WithOutput(out), mpb.WithWidth(40))
	}
	return p
}

// set tells that done of total steps are done, with a note of what is going on.
func (p *progress) set(done, total int, note string) {
	now := time.Now()
	text := p.text(now, done, total, note)
	if p.container != nil {
		p.beside.Store(text)
		if p.bar == nil {
			p.bar = p.container.New(int64(total), mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
				mpb.PrependDecorators(decor.Name(p.label+" ")),
				mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return p.beside.Load().(string) })))
		}
		p.bar.SetTotal(int64(total), false)
		p.bar.SetCurrent(int64(done))
		return
	}
	// A line now and then, and the last one once.
	if text != p.last && (done == total || now.Sub(p.shown) >= linePause) {
		p.shown, p.last = now, text
		fmt.Fprintln(p.out, p.label+" "+text)
	}
}

// text says how far the work is, when it will be done, and the note.
func (p *progress) text(now time.Time, done, total int, note string) string {
	text := fmt.Sprintf("%d/%d", done, total)
	switch {
	case p.begunAt == 0:
		p.begun, p.begunAt = now, done
	case done > p.begunAt && done < total:
		left := now.Sub(p.begun).Seconds() / float64(done-p.begunAt) * float64(total-done)
		if left < 1e9 { // a Duration holds 292 years
			text += fmt.Sprintf(", %s left", time.Duration(left*float64(time.Second)).Round(time.Second))
		}
	}
	if note != "" {
		text += ", " + note
	}
	return text
}

// close leaves the bar as it is.
func (p *progress) close() {
	if p.bar != nil {
		p.bar.EnableTriggerComplete()
		p.bar.Abort(false)
		p.container.Wait()
	}
}
