package main

import (
	"fmt"
	"io"
	"os"
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
	shown     time.Time
	begun     time.Time
}

// newProgress shows work called label on out.
func newProgress(out io.Writer, label string) *progress {
	p := &progress{out: out, label: label, begun: time.Now()}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.container = mpb.New(mpb.WithOutput(out), mpb.WithWidth(48))
	}
	return p
}

// set tells that done of total steps are done, with a note of what is going on.
func (p *progress) set(done, total int, note string) {
	if p.container != nil {
		if p.bar == nil {
			p.bar = p.container.New(int64(total), mpb.BarStyle().Lbound("").Rbound("").Filler("━").Tip("━").Padding("─"),
				mpb.PrependDecorators(decor.Name(p.label+" ")),
				mpb.AppendDecorators(decor.CountersNoUnit("%d/%d "), decor.AverageETA(decor.ET_STYLE_MMSS)))
		}
		p.bar.SetTotal(int64(total), false)
		p.bar.SetCurrent(int64(done))
		return
	}
	// One line a second at most, and the last one.
	if now := time.Now(); done == total || now.Sub(p.shown) >= time.Second {
		p.shown = now
		line := fmt.Sprintf("%s %d/%d", p.label, done, total)
		if done > 0 && done < total {
			left := time.Duration(float64(now.Sub(p.begun)) / float64(done) * float64(total-done))
			line += fmt.Sprintf(", %s left", left.Round(time.Second))
		}
		if note != "" {
			line += ", " + note
		}
		fmt.Fprintln(p.out, line)
	}
}

// close leaves the bar as it is.
func (p *progress) close() {
	if p.bar != nil {
		p.bar.EnableTriggerComplete()
		p.bar.Abort(false)
		p.container.Wait()
	}
}
