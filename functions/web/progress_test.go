package web

import (
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
)

// trainingLog is a log of two stages, as runners write it.
func trainingLog(steps int) string {
	var b strings.Builder
	b.WriteString("Using seed: 7\n")
	for stage, total := range []int{steps, 2 * steps} {
		for i := 1; i <= total; i++ {
			loss := 0.2/float64(stage+1) + 0.1/float64(i)
			b.WriteString(events.ProgressLine(i, total, time.Duration(i)*time.Second, "loss="+short(loss)))
		}
	}
	return b.String()
}

func TestReadCourse(t *testing.T) {
	c := readCourse(trainingLog(10))
	if len(c.steps) != 30 || c.steps[9].stage != 0 || c.steps[10].stage != 1 || !c.steps[0].hasLoss || c.left != 0 {
		t.Errorf("got %d steps, %+v, left %v", len(c.steps), c.steps, c.left)
	}
	part := trainingLog(10)
	part = part[:strings.Index(part, " 4/10")+30]
	part = part[:strings.LastIndex(part, "\n")+1]
	if c := readCourse(part); c.left != 6*time.Second && c.left != 7*time.Second {
		t.Errorf("left: got %v", c.left)
	}
	for _, log := range []string{"", "hello", "100%|", "50%|█| 1/0 [", "5%|x| 99999999999999999999/3 [00:01<?, ?it/s]\n"} {
		readCourse(log)
	}
}

func TestChart(t *testing.T) {
	if chartOf(readCourse("nothing")) != nil {
		t.Error("a chart of nothing")
	}
	c := chartOf(readCourse(trainingLog(2000)))
	if c == nil || c.Steps != 6000 || c.Done != 6000 || len(c.Stages) != 1 || c.Stages[0].X < 195 || c.Stages[0].X > 205 || c.Stages[0].Step != 2000 || c.Last >= c.First {
		t.Fatalf("got %+v", c)
	}
	if len(c.Smooth) > 8000 {
		t.Errorf("the path has %d bytes", len(c.Smooth))
	}
	if strings.Contains(c.Raw+c.Smooth, "NaN") || strings.Contains(c.Raw, "Inf") {
		t.Error("not a number in a path")
	}
	flat := strings.Repeat(events.ProgressLine(1, 3, time.Second, "loss=0.5"), 3)
	if c := chartOf(readCourse(flat)); c == nil || strings.Contains(c.Raw, "NaN") {
		t.Errorf("flat: got %+v", c)
	}
}

func FuzzReadCourse(f *testing.F) {
	f.Add(trainingLog(3))
	f.Add(" 50%|█████     | 350/700 [00:35<00:35,  9.98it/s, loss=0.0812]\n")
	f.Add(" 50%|█████     | 0/0 [9:99:99<99999999:9, loss=1e308]\n")
	f.Fuzz(func(t *testing.T, log string) {
		c := readCourse(log)
		leftText(c.left)
		if ch := chartOf(c); ch != nil && strings.Contains(ch.Raw+ch.Smooth, "NaN") {
			t.Error("not a number in a path")
		}
	})
}

func TestLeftText(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "", time.Second: "almost done", 12 * time.Second: "about 12 s left", 63 * time.Second: "about 65 s left",
		200 * time.Second: "about 3 min left", 3 * time.Hour: "about 3.0 h left",
	} {
		if got := leftText(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestTexts(t *testing.T) {
	for d, want := range map[time.Duration]string{800 * time.Millisecond: "0.8 s", 42 * time.Second: "42 s", 185 * time.Second: "3 min 5 s", 130 * time.Minute: "2 h 10 min"} {
		if got := secondsText(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{12: "12 bytes", 857031: "857 KB", 1234567: "1.2 MB", 3e9: "3.0 GB"} {
		if got := bytesText(n); got != want {
			t.Errorf("%d: got %q, want %q", n, got, want)
		}
	}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for d, want := range map[time.Duration]string{0: "just now", 61 * time.Second: "1 minute ago", 5 * time.Hour: "5 hours ago", 49 * time.Hour: "2 days ago", 240 * time.Hour: "21 April 2026"} {
		if got := ago(events.At(now.Add(-d)), now); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
