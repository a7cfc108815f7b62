package web

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// visit is one request on its way through a page.
type visit struct {
	*site
	http.ResponseWriter
	*http.Request
	session *session // nil: signed out
}

// The problems that pages know. Their texts are shown.
var (
	errSignedOut = errors.New("you are signed out")
	errNotFound  = errors.New("not found")
	errForged    = errors.New("this form is no longer valid")
)

// Header is the answer's: the request's is Request.Header.
func (v *visit) Header() http.Header { return v.ResponseWriter.Header() }

// Write writes the answer: Request has a Write too.
func (v *visit) Write(b []byte) (int, error) { return v.ResponseWriter.Write(b) }

// owner is whose pages are shown, "" for someone who has not signed in.
func (v *visit) owner() events.Owner {
	if v.session == nil {
		return ""
	}
	return v.session.owner
}

// byScript reports whether our own script asks, which wants JSON or a part of a page.
func (v *visit) byScript() bool { return v.Request.Header.Get("X-Lowrank") != "" }

// checkOrigin refuses what another site's page sends.
func (v *visit) checkOrigin() error {
	if err := v.site.origin.Check(v.Request); err != nil {
		return errForged
	}
	return nil
}

// forgeryField is the form field, and forgeryHeader the header, that carry the session's token.
const (
	forgeryField  = "_form"
	forgeryHeader = "X-Lowrank"
)

// checkForgery holds a POST to its session's token. Multipart bodies are read by then: they are bounded here.
func (v *visit) checkForgery() error {
	got := v.Request.Header.Get(forgeryHeader)
	if got == "" {
		v.Body = http.MaxBytesReader(v.ResponseWriter, v.Body, v.formLimit())
		if err := v.ParseMultipartForm(maxFormMemory); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			return tooLargeOr(err)
		}
		got = v.PostFormValue(forgeryField)
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(v.session.forgery())) != 1 {
		return errForged
	}
	return nil
}

// formLimit is how many bytes a posted form may have.
func (s *site) formLimit() int64 {
	if s.FormLimit > 0 {
		return s.FormLimit
	}
	return maxFormBody
}

// secure reports whether the browser speaks TLS with us.
func (s *site) secure(r *http.Request) bool { return strings.HasPrefix(s.base(r), "https://") }

// base is where absolute URLs begin, as the API has it.
func (s *site) base(r *http.Request) string {
	if s.PublicURL != "" {
		return strings.TrimRight(s.PublicURL, "/")
	}
	scheme, host := "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if s.TrustProxy {
		first := func(name string) string {
			f, _, _ := strings.Cut(r.Header.Get(name), ",")
			return strings.TrimSpace(f)
		}
		if h := first("X-Forwarded-Host"); h != "" {
			host = h
		}
		if p := first("X-Forwarded-Proto"); p == "http" || p == "https" {
			scheme = p
		}
	}
	return scheme + "://" + host
}

// outputs is where absolute URLs of outputs begin.
func (v *visit) outputs() string {
	if v.OutputsURL != "" {
		return strings.TrimRight(v.OutputsURL, "/")
	}
	return v.site.base(v.Request)
}

// answer is what the API said to a request made in this process.
type answer struct {
	status int
	header http.Header
	body   bytes.Buffer
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.body.Write(b)
}

// call asks the API in the session's name. path is escaped as in a URL.
func (v *visit) call(ctx context.Context, method, path, contentType string, body io.Reader) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	r.Host, r.TLS, r.RemoteAddr, r.RequestURI = v.Host, v.TLS, v.RemoteAddr, path
	for _, name := range []string{"X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-For"} {
		r.Header[name] = v.Request.Header[name]
	}
	r.Header.Set("Authorization", "Bearer "+v.session.token)
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	a := &answer{header: http.Header{}}
	v.API.ServeHTTP(a, r)
	return a, nil
}

// job finds the visitor's job that the path names. Another owner's is not there.
func (v *visit) job(id string) (events.Job, error) {
	j, err := v.jobs.Load(v.Context(), events.JobID(id))
	if errors.Is(err, infra.ErrNotFound) || err == nil && j.Owner != v.owner() {
		return events.Job{}, errNotFound
	}
	j.Links = events.Links{API: v.site.base(v.Request), Outputs: v.outputs()}
	return j, err
}
