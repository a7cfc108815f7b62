package web

import (
	"errors"
	"net/http"
	"strings"

	"github.com/lowrank/lowrank/infra"
)

// signInData is what the page of signing in shows.
type signInData struct {
	Next, Error string
}

// signInPage is GET /sign-in. A token after # (which is never sent) is filled in by signin.js.
func (s *site) signInPage(v *visit) error {
	next := localPath(v.URL.Query().Get("next"))
	if v.session != nil {
		http.Redirect(v.ResponseWriter, v.Request, next, http.StatusSeeOther)
		return nil
	}
	return v.render(http.StatusOK, "signin.html", "Sign in", signInData{Next: next})
}

// signIn is POST /sign-in.
func (s *site) signIn(v *visit) error {
	v.Body = http.MaxBytesReader(v.ResponseWriter, v.Body, 64<<10)
	if err := v.ParseForm(); err != nil {
		return tooLargeOr(err)
	}
	next := localPath(v.PostForm.Get("next"))
	token := strings.TrimSpace(v.PostForm.Get("token"))
	refuse := func(why string) error {
		return v.render(http.StatusUnprocessableEntity, "signin.html", "Sign in", signInData{Next: next, Error: why})
	}
	if token == "" {
		return refuse("Paste a token first.")
	}
	if len(token) > 500 {
		return refuse("That is too long to be a token.")
	}
	ses, err := s.sessions.begin(v.Context(), token)
	if errors.Is(err, infra.ErrNotFound) {
		return refuse("No one has this token. It may have been revoked, or a part of it is missing.")
	}
	if err != nil {
		return err
	}
	http.SetCookie(v.ResponseWriter, ses.cookie(s.secure(v.Request)))
	http.Redirect(v.ResponseWriter, v.Request, next, http.StatusSeeOther)
	return nil
}

// signOut is POST /sign-out.
func (s *site) signOut(v *visit) error {
	if err := s.sessions.end(v.Context(), v.session); err != nil {
		return err
	}
	c := v.session.cookie(s.secure(v.Request))
	c.Value, c.MaxAge = "", -1
	http.SetCookie(v.ResponseWriter, c)
	v.Header().Set("Clear-Site-Data", `"storage"`) // drafts of forms are no one else's business
	http.Redirect(v.ResponseWriter, v.Request, "/", http.StatusSeeOther)
	return nil
}

// localPath keeps a redirect on this server: a path of ours, or /.
func localPath(p string) string {
	if !strings.HasPrefix(p, "/") || strings.HasPrefix(p, "//") || strings.ContainsAny(p, "\\\r\n\t") || len(p) > 2000 || strings.HasPrefix(p, "/sign-") {
		return "/"
	}
	return p
}
