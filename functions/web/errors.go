package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// shownError is an error in words for the visitor.
type shownError struct {
	Status        int
	Title, Detail string
	SignIn        bool // signing in helps
}

// Error implements error.
func (e *shownError) Error() string { return fmt.Sprintf("%d %s", e.Status, e.Title) }

// invalidForm is what is wrong with a form, by field; "" is the form as a whole.
type invalidForm map[string]string

// Error implements error.
func (invalidForm) Error() string { return "the form has errors" }

// shown turns any error into what the visitor is told; unexpected is true for those that an operator should
// look at.
func shown(err error) (e *shownError, unexpected bool) {
	var max *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e, false
	case errors.Is(err, errSignedOut):
		return &shownError{Status: http.StatusUnauthorized, Title: "You are signed out", Detail: "Sign in to go on. What you started goes on meanwhile.", SignIn: true}, false
	case errors.Is(err, errForged):
		return &shownError{Status: http.StatusForbidden, Title: "This page is too old", Detail: "It was opened before you last signed in. Load it again and repeat what you did."}, false
	case errors.Is(err, errNotFound), infra.KindOf(err) == infra.ErrNotFound:
		return &shownError{Status: http.StatusNotFound, Title: "Not found", Detail: "There is nothing at this address, or it is someone else’s."}, false
	case errors.As(err, &max), infra.KindOf(err) == infra.ErrTooLarge:
		return &shownError{Status: http.StatusRequestEntityTooLarge, Title: "Too large", Detail: "That is more than this server takes at once."}, false
	case infra.KindOf(err) == infra.ErrInvalid:
		return &shownError{Status: http.StatusBadRequest, Title: "Not understood", Detail: "The address of this page is not one that this server made."}, false
	case infra.Retryable(err):
		return &shownError{Status: http.StatusServiceUnavailable, Title: "Not now", Detail: "The server cannot answer just now. Try again in a moment."}, true
	}
	return &shownError{Status: http.StatusInternalServerError, Title: "That went wrong", Detail: "The fault is the server’s. Trying again may help."}, true
}

func tooLargeOr(err error) error {
	var max *http.MaxBytesError
	if errors.As(err, &max) {
		return err
	}
	return &shownError{Status: http.StatusBadRequest, Title: "Not understood", Detail: "The form did not arrive whole. Send it again."}
}

// fail answers with an error, as JSON to our scripts, else as a page. Nothing of the request is logged.
func (v *visit) fail(err error) {
	e, unexpected := shown(err)
	if unexpected && v.Context().Err() == nil {
		v.Log.Error("a page failed", "method", v.Method, "status", e.Status, "error", err)
	}
	if v.byScript() {
		v.writeJSON(e.Status, map[string]any{"error": e.Title + ". " + e.Detail, "sign_in": e.SignIn})
		return
	}
	if e.SignIn && v.Method == http.MethodGet {
		http.Redirect(v.ResponseWriter, v.Request, "/sign-in?next="+url.QueryEscape(v.URL.RequestURI()), http.StatusSeeOther)
		return
	}
	if err := v.render(e.Status, "error.html", e.Title, e); err != nil {
		v.Log.Error("an error could not be shown", "error", err)
		http.Error(v.ResponseWriter, e.Title, e.Status)
	}
}

func (v *visit) writeJSON(status int, value any) {
	b, err := events.Marshal(value)
	if err != nil {
		v.Log.Error("an answer could not be written", "error", err)
		status, b = http.StatusInternalServerError, []byte("{}")
	}
	v.Header().Set("Content-Type", "application/json")
	v.WriteHeader(status)
	v.Write(b) // a browser that has gone is no one's error
}

// problemOf reads what the API refused with: the fields of a form, or the whole.
func (a *answer) problemOf(f *form) error {
	var p events.Problem
	if err := json.Unmarshal(a.body.Bytes(), &p); err != nil || p.Status == 0 {
		return fmt.Errorf("the API answered %d without saying why", a.status)
	}
	if a.status == http.StatusUnauthorized {
		return errSignedOut
	}
	if f != nil && len(p.InvalidFields) > 0 {
		bad := invalidForm{}
		for _, field := range p.InvalidFields {
			name := strings.TrimPrefix(field.Field, "input.")
			if field.Type == "required" {
				name, _, _ = strings.Cut(field.Description, " ")
			}
			if f.Field(name) == nil {
				bad[""] = sentence(field.Description)
				continue
			}
			bad[name] = f.Field(name).complaint(field)
		}
		return bad
	}
	detail := strings.TrimSpace(p.Detail)
	if p.Status == http.StatusTooManyRequests {
		detail = "You have as many predictions and trainings going as this server allows. Wait for one to end, or cancel one."
	}
	if f != nil && p.Status < 500 {
		return invalidForm{"": sentence(detail)}
	}
	return &shownError{Status: p.Status, Title: p.Title, Detail: sentence(detail)}
}

// sentence begins with a capital and ends with a full stop.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if c := s[0]; c >= 'a' && c <= 'z' {
		s = string(c-'a'+'A') + s[1:]
	}
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
