package events

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const barWidth = 10

// ProgressLine writes one line of a log the way tqdm does, which is how the clients read progress:
//
//	50%|█████     | 350/700 [00:35<00:35,  9.98it/s, loss=0.0812]
//
// A line begins with the percentage: the clients find no other. It ends in "\n",
// never "\r". total must be positive; done is clipped to 0 … total.
func ProgressLine(done, total int, elapsed time.Duration, note string) string {
	if total < 1 {
		total = 1
	}
	done = min(max(done, 0), total)
	rate, left := "?it/s", "?"
	if s := elapsed.Seconds(); s > 0 && done > 0 {
		r := float64(done) / s
		if r >= 1 {
			rate = fmt.Sprintf("%5.2fit/s", r)
		} else {
			rate = fmt.Sprintf("%5.2fs/it", 1/r)
		}
		left = clock(time.Duration(float64(total-done) / r * float64(time.Second)))
	}
	filled := barWidth * done / total
	bar := strings.Repeat("█", filled) + strings.Repeat(" ", barWidth-filled)
	if note != "" {
		note = ", " + OneLine(note)
	}
	return fmt.Sprintf("%3d%%|%s| %d/%d [%s<%s, %s%s]\n", int(math.Floor(100*float64(done)/float64(total))), bar, done, total, clock(elapsed), left, rate, note)
}

// clock writes a duration as tqdm does: 00:35, or 1:02:03 from an hour on.
func clock(d time.Duration) string {
	s := int64(d / time.Second)
	if s >= 3600 {
		return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
	}
	return fmt.Sprintf("%02d:%02d", s/60, s%60)
}

// OneLine makes text fit for one line of a log: line breaks and control characters become spaces.
func OneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == 0x85 || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}

// progressPattern is the clients' own (replicate 1.0.7 prediction.py, npm replicate lib/util.js).
var progressPattern = regexp.MustCompile(`^\s*(\d+)%\s*\|.+?\|\s*(\d+)/(\d+)`)

// ParseProgress finds the newest progress line of a log; ok is false when there is none.
func ParseProgress(log string) (done, total int, ok bool) {
	lines := strings.Split(log, "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		m := progressPattern.FindStringSubmatch(lines[i])
		if m == nil {
			continue
		}
		d, err1 := strconv.Atoi(m[2])
		t, err2 := strconv.Atoi(m[3])
		if err1 == nil && err2 == nil && t > 0 {
			return d, t, true
		}
	}
	return 0, 0, false
}
