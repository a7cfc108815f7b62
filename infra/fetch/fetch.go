package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// Options configure a Fetcher. Dir must be set; the rest has defaults.
type Options struct {
	Dir           string        // folder of the cache, shared by any number of processes
	CacheBytes    int64         // that the cache may hold; default 10 GiB
	MaxBytes      int64         // of one file; default 1 GiB
	Timeout       time.Duration // of one try; default 10 minutes
	AllowLoopback bool          // let URLs reach this machine's loopback, for tests
	TLS           *tls.Config   // nil is the system's roots
}

// Fetcher downloads files into a cache. Safe for concurrent use.
type Fetcher struct {
	options Options
	client  *http.Client
	cache   *Cache
	pause   time.Duration // before the second try; four times that before the third
}

// New makes a Fetcher and its folder.
func New(o Options) (*Fetcher, error) {
	if o.CacheBytes <= 0 {
		o.CacheBytes = 10 << 30
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Minute
	}
	cache, err := OpenCache(o.Dir, o.CacheBytes)
	if err != nil {
		return nil, err
	}
	return &Fetcher{options: o, client: client(o), cache: cache, pause: time.Second}, nil
}

// File is a fetched file on this machine. It must not be changed.
type File struct {
	Path   string
	Name   string // as the server or the URL calls it; a bare file name, never empty
	Size   int64  // bytes
	SHA256 string // hex
	Done   func() // lets go of it; call it once
}

// tries is how often a download is attempted when the failure may pass.
const tries = 3

// Fetch brings what rawURL names onto this machine. Errors are of type *Error, one
// sentence for the user, but for the end of ctx and a full disk.
func (f *Fetcher) Fetch(ctx context.Context, rawURL string) (File, error) {
	if len(rawURL) >= 5 && strings.EqualFold(rawURL[:5], "data:") {
		return f.data(rawURL)
	}
	u, err := url.Parse(strings.TrimSpace(rawURL))
	if err != nil {
		return File{}, refuse("the URL cannot be read", nil) // its own text would quote it
	}
	if err := CheckURL(u.String(), f.options); err != nil {
		return File{}, err
	}
	u = direct(u)
	for try := 1; ; try++ {
		file, err := f.download(ctx, u)
		if err == nil {
			return file, nil
		}
		if ctx.Err() != nil {
			return File{}, fmt.Errorf("fetch: %w", ctx.Err())
		}
		var passing *passingError
		if !errors.As(err, &passing) {
			return File{}, err
		}
		if try == tries {
			return File{}, refuse(passing.sentence, passing.err)
		}
		if err := sleep(ctx, f.pause<<(2*(try-1))); err != nil {
			return File{}, fmt.Errorf("fetch: %w", err)
		}
	}
}

// passingError is a failure that another try may not meet.
type passingError struct {
	sentence string
	err      error
}

func (e *passingError) Error() string { return e.sentence }

// download is one try.
func (f *Fetcher) download(ctx context.Context, u *url.URL) (File, error) {
	ctx, cancel := context.WithTimeout(ctx, f.options.Timeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return File{}, refuse("the URL cannot be read", nil)
	}
	req.Header.Set("User-Agent", "lowrank")
	known, held := f.cache.openURL(u.String())
	if held {
		// Held from here on: it cannot leave the cache between question and answer.
		known.condition(req.Header)
	}
	letGo := func() {
		if held {
			known.File.Done()
		}
	}
	alarm := time.AfterFunc(answerWithin, func() { giveUp(errSlow) })
	resp, err := f.client.Do(req)
	alarm.Stop()
	if err != nil {
		letGo()
		return File{}, unreachable(ctx, err)
	}
	defer resp.Body.Close()
	if held && resp.StatusCode == http.StatusNotModified {
		return known.File, nil
	}
	letGo()
	if err := f.checkAnswer(resp); err != nil {
		return File{}, err
	}
	body := &limited{r: newPaced(ctx, giveUp, resp.Body, resp.Request.URL.Hostname()), left: f.options.MaxBytes, limit: f.options.MaxBytes}
	file, err := f.cache.Add(&judged{r: body}, nameOf(resp))
	if err != nil {
		return File{}, broken(err)
	}
	f.cache.rememberURL(u.String(), resp.Header, file)
	return file, nil
}

// checkAnswer judges status and declared size.
func (f *Fetcher) checkAnswer(resp *http.Response) error {
	code := resp.StatusCode
	switch {
	case code == http.StatusTooManyRequests || code >= 500:
		return &passingError{sentence: fmt.Sprintf("the URL could not be downloaded: its server answered %d", code)}
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		return refuse(fmt.Sprintf("the URL could not be downloaded: its server answered %d, access is not allowed; make the file public", code), nil)
	case code != http.StatusOK:
		return refuse(fmt.Sprintf("the URL could not be downloaded: its server answered %d", code), nil)
	case resp.ContentLength > f.options.MaxBytes:
		return tooLarge(f.options.MaxBytes)
	}
	return nil
}

func tooLarge(limit int64) error {
	return &Error{Kind: infra.ErrTooLarge, Sentence: "the file at the URL is too large: the limit is " + size(limit)}
}

// size writes n bytes for people.
func size(n int64) string {
	switch {
	case n >= 1<<30 && n%(1<<30) == 0:
		return strconv.FormatInt(n>>30, 10) + " GiB"
	case n >= 1<<20 && n%(1<<20) == 0:
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// unreachable sorts what kept a request from being answered.
func unreachable(ctx context.Context, err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, ErrPrivate):
		return refuse(ErrPrivate.Error(), nil)
	case context.Cause(ctx) == errSlow, TimedOut(err):
		return tooSlow(hostOf(err), " to answer")
	}
	var asURL *url.Error
	if errors.As(err, &asURL) {
		err = asURL.Err // without the URL
	}
	return &passingError{"the URL could not be downloaded: its server could not be reached", err}
}

// broken sorts what kept a body from being stored.
func broken(err error) error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case infra.KindOf(err) == infra.ErrFull:
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return refuse("the URL could not be downloaded: it took too long", nil) // and would again
	}
	return &passingError{"the URL could not be downloaded: the connection broke", err}
}

// data stores the bytes that a data: URL carries.
func (f *Fetcher) data(rawURL string) (File, error) {
	mediaType, data, ok := events.ParseDataURL(rawURL)
	if !ok {
		return File{}, refuse("the data: URL cannot be read", nil)
	}
	if int64(len(data)) > f.options.MaxBytes {
		return File{}, tooLarge(f.options.MaxBytes)
	}
	name := "data"
	if ext := extension(mediaType); ext != "" {
		name += ext
	}
	return f.cache.Add(&judged{r: strings.NewReader(string(data))}, name)
}

// limited fails beyond limit bytes, where io.LimitReader would quietly end.
type limited struct {
	r           io.Reader
	left, limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, tooLarge(l.limit)
	}
	return n, err
}
