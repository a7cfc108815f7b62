package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"
)

// How slow a server may be. While a job waits for its files its runner does no
// other, so this bounds what one slow server costs everybody; the whole of a
// download that keeps the pace is bounded by Options.Timeout. One that is too slow
// is not tried again: it would hold the runner as long once more.
const (
	// answerWithin is for the answer to begin: name, connection, TLS and every
	// redirect together. Servers that are well take a second or two.
	answerWithin = 15 * time.Second
	// paceBytes must come in each paceWithin of waiting for the body: 35 kbit/s, less
	// than any link over which somebody would wait for megabytes. The span is long
	// enough for a connection that loses packets to come back.
	paceBytes  = 64 << 10
	paceWithin = 15 * time.Second
)

// errSlow is the cause with which a download's context ends that is too slow.
var errSlow = errors.New("the server is too slow")

// paced passes a body on while it keeps the pace. Only the time in which the
// server is waited for counts: a slow disk of ours is not held against it.
type paced struct {
	r      io.Reader
	ctx    context.Context // the request's
	giveUp context.CancelCauseFunc
	host   string

	came int           // bytes since the pace was last kept
	left time.Duration // for paceBytes to come
}

func newPaced(ctx context.Context, giveUp context.CancelCauseFunc, r io.Reader, host string) *paced {
	return &paced{r: r, ctx: ctx, giveUp: giveUp, host: host, left: paceWithin}
}

func (p *paced) Read(b []byte) (int, error) {
	begun := time.Now()
	alarm := time.AfterFunc(p.left, func() { p.giveUp(errSlow) })
	n, err := p.r.Read(b)
	alarm.Stop()
	p.left -= time.Since(begun)
	if p.came += n; p.came >= paceBytes {
		p.came, p.left = 0, paceWithin
	}
	if err != nil && err != io.EOF && context.Cause(p.ctx) == errSlow {
		err = tooSlow(p.host, fmt.Sprintf(", less than %d KiB came in %.0f seconds", paceBytes>>10, paceWithin.Seconds()))
	}
	return n, err
}

// tooSlow names the host, which is no secret, and nothing else of the URL.
func tooSlow(host, how string) error {
	return refuse("the URL could not be downloaded: "+host+" is too slow"+how, nil)
}

// hostOf is the host of the request that failed, which a redirect may have made.
func hostOf(err error) string {
	var failed *url.Error
	if errors.As(err, &failed) {
		if u, err := url.Parse(failed.URL); err == nil && u.Hostname() != "" {
			return u.Hostname()
		}
	}
	return "its server"
}

// TimedOut reports whether err is the end of some time limit.
func TimedOut(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}
