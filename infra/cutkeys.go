package infra

import (
	"context"
	"log/slog"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// Keys of blobs and documents hold secrets (an upload and an output are served to whoever knows their path)
// and the names of users' files. Errors carry keys for those who handle them; no log may.

// CutKeys is log, except that it cuts keys and URLs in what is logged, errors and text alike, down to where
// they begin.
func CutKeys(log *slog.Logger) *slog.Logger {
	if _, ok := log.Handler().(keyCutter); ok {
		return log
	}
	return slog.New(keyCutter{log.Handler()})
}

// keyCutter is a slog.Handler that cuts keys.
type keyCutter struct{ slog.Handler }

// Handle implements slog.Handler.
func (h keyCutter) Handle(ctx context.Context, r slog.Record) error {
	cut := slog.NewRecord(r.Time, r.Level, cutText(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		cut.AddAttrs(cutAttr(a))
		return true
	})
	return h.Handler.Handle(ctx, cut)
}

// WithAttrs implements slog.Handler.
func (h keyCutter) WithAttrs(attrs []slog.Attr) slog.Handler {
	return keyCutter{h.Handler.WithAttrs(cutAttrs(attrs))}
}

// WithGroup implements slog.Handler.
func (h keyCutter) WithGroup(name string) slog.Handler { return keyCutter{h.Handler.WithGroup(name)} }

func cutAttrs(attrs []slog.Attr) []slog.Attr {
	out := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		out[i] = cutAttr(a)
	}
	return out
}

func cutAttr(a slog.Attr) slog.Attr {
	a.Value = a.Value.Resolve()
	switch a.Value.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(cutText(a.Value.String()))
	case slog.KindGroup:
		a.Value = slog.GroupValue(cutAttrs(a.Value.Group())...)
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			a.Value = slog.StringValue(CutError(err))
		}
	}
	return a
}

// CutError is err's text with all keys and URLs in it cut, those of the errors it wraps too.
func CutError(err error) string {
	text := err.Error()
	for _, secret := range carried(err) {
		short := strconv.Quote(cutKey(secret))
		if u, err := url.Parse(secret); err == nil && u.Host != "" {
			short = strconv.Quote(u.Scheme + "://" + u.Host + "/…")
		}
		text = strings.ReplaceAll(text, strconv.Quote(secret), short)
		if strings.Contains(secret, "/") || len(secret) > idLength { // short words may stand in the text by themselves
			text = strings.ReplaceAll(text, secret, strings.Trim(short, `"`))
		}
	}
	return cutText(text)
}

// carried lists the keys and URLs that err's tree holds.
func carried(err error) (all []string) {
	switch e := err.(type) {
	case nil:
		return nil
	case *Error:
		if e.Key != "" {
			all = append(all, e.Key)
		}
	case *url.Error:
		all = append(all, e.URL)
	}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		all = append(all, carried(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, err := range e.Unwrap() {
			all = append(all, carried(err)...)
		}
	}
	return all
}

const (
	idLength  = 26 // of a job's or a file's id, which opens nothing without a token
	keyLength = 6  // what is kept of a longer one: enough to find its like
)

// cutKey keeps an id, and of everything else the first segment and what tells the next one from its like. A
// path, which no key is, stays.
func cutKey(key string) string {
	first, rest, divided := strings.Cut(key, "/")
	switch {
	case divided && first == "":
		return key
	case divided:
		return first + "/" + beginning(rest) + "…"
	case len(key) > idLength:
		return beginning(key) + "…"
	}
	return key
}

// beginning is the first few characters of a segment: of an upload's the time in its id, of an output's "pbxt".
func beginning(s string) string {
	s, _, _ = strings.Cut(s, "/")
	for i := range s {
		if i >= keyLength {
			return s[:i]
		}
	}
	return s
}

var (
	uploadInText = regexp.MustCompile(`\b(uploads|serving)/([2-7a-z]{6})[^\s"]+`)
	outputInText = regexp.MustCompile(`\bpbxt/[^\s"]+`)
)

// cutText cuts what looks like the path of an upload or an output.
func cutText(s string) string {
	if !strings.Contains(s, "/") {
		return s
	}
	s = uploadInText.ReplaceAllString(s, "$1/$2…")
	return outputInText.ReplaceAllString(s, "pbxt/…")
}
