package api

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// prefer is what the Prefer header (RFC 7240) asks: to wait for the end of the job, and how long.
type prefer struct {
	wait    bool
	seconds int    // 0: as long as the server likes
	applied string // for Preference-Applied
}

// readPrefer reads the header. Preferences that it does not know are ignored, as the RFC asks.
func readPrefer(r *http.Request) (prefer, error) {
	for _, line := range r.Header.Values("Prefer") {
		for p := range strings.SplitSeq(line, ",") {
			p, _, _ = strings.Cut(p, ";")
			name, value, has := strings.Cut(strings.TrimSpace(p), "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			if !has {
				return prefer{wait: true, applied: "wait"}, nil
			}
			n, err := strconv.Atoi(strings.Trim(strings.TrimSpace(value), `"`))
			if err != nil || n < 0 {
				return prefer{}, unprocessable("Invalid header", "Prefer: wait must name a number of seconds, for example wait=5.")
			}
			return prefer{wait: true, seconds: max(1, min(n, 60)), applied: "wait=" + strconv.Itoa(max(1, min(n, 60)))}, nil
		}
	}
	return prefer{}, nil
}

// hold is how long the answer waits at most: a little less than the client's own patience.
func (p prefer) hold(most time.Duration) time.Duration {
	d := most
	if p.seconds > 0 {
		d = min(d, time.Duration(p.seconds)*time.Second)
	}
	return d - 100*time.Millisecond
}

// cancelAfter is the Cancel-After header; 0 is none.
type cancelAfter time.Duration

func (c cancelAfter) duration() time.Duration { return time.Duration(c) }

var cancelAfterPattern = regexp.MustCompile(`^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s?)?$`)

// readCancelAfter reads 30, 5s, 1m, 1h30m; at least 5 s, as Replicate has it, at most 30 days.
func readCancelAfter(r *http.Request) (cancelAfter, error) {
	text := strings.TrimSpace(r.Header.Get("Cancel-After"))
	if text == "" {
		return 0, nil
	}
	m := cancelAfterPattern.FindStringSubmatch(text)
	if m == nil {
		return 0, unprocessable("Invalid header", "Cancel-After must be a duration such as 30, 45s, 5m or 1h30m.")
	}
	part := func(s string, unit time.Duration) time.Duration {
		n, _ := strconv.Atoi(s) // digits only, and "" is 0
		return time.Duration(n) * unit
	}
	d := part(m[1], time.Hour) + part(m[2], time.Minute) + part(m[3], time.Second)
	return cancelAfter(min(max(d, 5*time.Second), 30*24*time.Hour)), nil
}
