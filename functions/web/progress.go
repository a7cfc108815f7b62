package web

import (
	"encoding/csv"
	"io"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// course is what a log tells of a job's way: its progress lines (events.ProgressLine).
type course struct {
	steps []courseStep
	left  time.Duration // of the stage, as the last line has it; -1 when it does not say
}

// courseStep is one progress line.
type courseStep struct {
	stage       int // 0, 1, …: a new one begins where the count goes back or the total changes
	done, total int
	loss        float64
	hasLoss     bool
}

var (
	stepPattern = regexp.MustCompile(`^\s*\d+%\|[^|]*\|\s*(\d+)/(\d+) \[[\d:]+<([\d:]+|\?),[^\]]*\]`)
	lossPattern = regexp.MustCompile(`\bloss[=: ]\s*([0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?)`)
)

// readCourse reads a log's progress lines. Anything else in the log is passed over.
func readCourse(log string) course {
	c := course{left: -1}
	stage := -1
	for line := range strings.SplitSeq(log, "\n") {
		m := stepPattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		s := courseStep{done: digits(m[1]), total: digits(m[2])}
		if n := len(c.steps); n == 0 || c.steps[n-1].total != s.total || c.steps[n-1].done > s.done {
			stage++
		}
		s.stage = stage
		if l := lossPattern.FindStringSubmatch(m[0]); l != nil {
			if v, err := strconv.ParseFloat(l[1], 64); err == nil && v < 1e6 {
				s.loss, s.hasLoss = v, true
			}
		}
		c.left = parseClock(m[3])
		c.steps = append(c.steps, s)
	}
	return c
}

// readLosses reads the losses of a training's steps as it keeps them: a row a step, with the columns phase,
// step, loss and others. It reads up to the first row that is none.
func readLosses(r io.Reader) course {
	c := course{left: -1}
	rows := csv.NewReader(io.LimitReader(r, 8<<20))
	rows.FieldsPerRecord = -1
	phase := ""
	for {
		row, err := rows.Read()
		if err != nil {
			break
		}
		if len(row) < 3 || row[0] == "phase" {
			continue
		}
		loss, err := strconv.ParseFloat(row[2], 64)
		if err != nil || math.IsNaN(loss) || loss < 0 || loss >= 1e6 {
			break
		}
		s := courseStep{done: digits(row[1]), loss: loss, hasLoss: true}
		if n := len(c.steps); n > 0 {
			if s.stage = c.steps[n-1].stage; row[0] != phase {
				s.stage++
			}
		}
		phase = row[0]
		c.steps = append(c.steps, s)
	}
	last := map[int]int{}
	for _, s := range c.steps {
		last[s.stage] = s.done
	}
	for i := range c.steps {
		c.steps[i].total = last[c.steps[i].stage]
	}
	return c
}

var previewsPattern = regexp.MustCompile(`(?m)^Previews are drawn at (\d+(?:, \d+)*) %\.$`)

// readPreviews are the percents of the way at which a training draws.
func readPreviews(log string) (percents []int) {
	m := previewsPattern.FindStringSubmatch(log)
	if m == nil {
		return nil
	}
	for n := range strings.SplitSeq(m[1], ", ") {
		percents = append(percents, digits(n))
	}
	return percents[:min(len(percents), 10)]
}

func digits(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0 // more digits than any count has
	}
	return n
}

// parseClock reads 00:35 or 1:02:03; -1 for anything else.
func parseClock(s string) time.Duration {
	var total time.Duration
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return -1
	}
	for _, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n > 1_000_000 {
			return -1
		}
		total = total*60 + time.Duration(n)*time.Second
	}
	return total
}

// leftText says how long something takes still, roundly: people trust no seconds from far away.
func leftText(d time.Duration) string {
	s := int(d / time.Second)
	switch {
	case d < 0:
		return ""
	case s < 2:
		return "almost done"
	case s < 20:
		return "about " + strconv.Itoa(s) + " s left"
	case s < 90:
		return "about " + strconv.Itoa((s+4)/5*5) + " s left"
	case s < 5400:
		return "about " + strconv.Itoa((s+30)/60) + " min left"
	}
	return "about " + strconv.FormatFloat(float64(s)/3600, 'f', 1, 64) + " h left"
}
