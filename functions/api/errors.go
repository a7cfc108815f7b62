package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/bodies"
)

// problem is an answer that is an error. All that a client is told is in it.
type problem struct {
	status        int
	title, detail string
	fields        []events.InvalidField
	retryAfter    int // seconds; 0: no header
	close         bool
}

// Error implements error.
func (p *problem) Error() string { return fmt.Sprintf("%d %s", p.status, p.title) }

func notFound() *problem {
	return &problem{status: http.StatusNotFound, title: "Not found", detail: "The requested resource could not be found."}
}

func badRequest(detail string) *problem {
	return &problem{status: http.StatusBadRequest, title: "Bad Request", detail: detail}
}

func tooLarge(detail string) *problem {
	return &problem{status: http.StatusRequestEntityTooLarge, title: "Content Too Large", detail: detail, close: true}
}

func timedOut(detail string) *problem {
	return &problem{status: http.StatusRequestTimeout, title: "Request Timeout", detail: detail, close: true}
}

func forbidden(detail string) *problem {
	return &problem{status: http.StatusForbidden, title: "Forbidden", detail: detail}
}

func unprocessable(title, detail string) *problem {
	return &problem{status: http.StatusUnprocessableEntity, title: title, detail: detail}
}

// megabytes writes a limit as Replicate does: 100MB.
func megabytes(n int64) string {
	if n >= 1<<20 {
		return strconv.FormatInt(n>>20, 10) + "MB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}

// asProblem turns any error into what the client is told. unexpected is true for those that an operator
// should look at.
func asProblem(err error) (p *problem, unexpected bool) {
	var invalid *events.InvalidInput
	switch {
	case errors.As(err, &p):
		return p, false
	case errors.As(err, &invalid):
		return &problem{status: http.StatusUnprocessableEntity, title: "Input validation failed", detail: invalid.Error(), fields: invalid.Fields}, false
	case errors.Is(err, bodies.ErrStalled):
		return timedOut("The request body stopped arriving before its end. Send it again."), false
	case errors.Is(err, errSlow):
		return timedOut("The request body takes too long to arrive. Use POST /v1/upload for large files on slow connections."), false
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &problem{status: http.StatusServiceUnavailable, title: "Service Unavailable", detail: "The request was not finished in time. Try again.", retryAfter: 1}, false
	}
	switch infra.KindOf(err) {
	case infra.ErrNotFound:
		return notFound(), false
	case infra.ErrTooLarge:
		return tooLarge("That is larger than this server stores."), false
	case infra.ErrFull:
		return &problem{status: http.StatusInsufficientStorage, title: "Insufficient Storage", detail: "The server has no space left. Nothing was stored."}, true
	case infra.ErrUnavailable, infra.ErrConflict, infra.ErrInUse:
		return &problem{status: http.StatusServiceUnavailable, title: "Service Unavailable", detail: "The server cannot answer just now. Try again.", retryAfter: 1}, true
	}
	return &problem{status: http.StatusInternalServerError, title: "Internal Server Error", detail: "The server could not answer. This is its own fault; trying again may help."}, true
}

// drainLimit is how much of a refused body is still read, so that the client gets to see the answer
// and the connection stays usable.
const drainLimit = 8 << 20

// fail answers with an error. Nothing of the request but its method and pattern is logged.
func (s *server) fail(w http.ResponseWriter, r *http.Request, pattern string, err error) {
	p, unexpected := asProblem(err)
	if unexpected {
		s.Log.Error("a request failed", "method", r.Method, "path", pattern, "status", p.status, "error", err)
	} else {
		s.Log.Debug("a request was refused", "method", r.Method, "path", pattern, "status", p.status)
	}
	if p.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	body, merr := events.Marshal(events.Problem{Title: p.title, Detail: p.detail, Status: p.status, InvalidFields: p.fields})
	if merr != nil {
		s.Log.Error("an error could not be written", "error", merr)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Del("Content-Length")
	if p.close || !drained(r) {
		bodies.Refuse(w, r, p.status, body)
		return
	}
	w.WriteHeader(p.status)
	w.Write(body)
}

// drained reads what is left of the body, if that is little, and reports whether it came to its end.
func drained(r *http.Request) bool {
	if r.Body == nil {
		return true
	}
	if r.ContentLength > drainLimit {
		return false
	}
	_, err := io.CopyN(io.Discard, r.Body, drainLimit)
	return err == io.EOF
}
