package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
)

//go:embed templates
var templateFiles embed.FS

// page is what every template gets.
type page struct {
	Title   string
	Owner   events.Owner
	Forgery string // the session's form token
	Path    string // with the query
	Data    any
}

// trash is the way to delete what a card shows.
type trash struct{ Path, Name string }

// At reports whether the page is the one at a path, or below it: the navigation marks it.
func (p page) At(path string) bool {
	here, _, _ := strings.Cut(p.Path, "?")
	return here == path || strings.HasPrefix(here, path+"/")
}

// templates are the pages, each with the layout and the shared parts.
var templates = sync.OnceValue(func() map[string]*template.Template {
	shared := template.Must(template.New("").Funcs(template.FuncMap{
		"asset": assetURL, "ago": ago, "bytes": bytesText, "seconds": secondsText, "lower": strings.ToLower,
		"plural": plural, "part": func(p page, data any) page { p.Data = data; return p }, "add": func(a, b int) int { return a + b },
		"trash": func(path, name string) trash { return trash{path, name} },
	}).ParseFS(templateFiles, "templates/layout.html", "templates/parts/*.html"))
	all := map[string]*template.Template{}
	entries, err := templateFiles.ReadDir("templates")
	if err != nil {
		panic(err)
	}
	for _, e := range entries {
		if e.IsDir() || e.Name() == "layout.html" {
			continue
		}
		t := template.Must(shared.Clone())
		all[e.Name()] = template.Must(t.ParseFS(templateFiles, "templates/"+e.Name()))
	}
	all["parts"] = shared
	return all
})

func (v *visit) page(title string, data any) page {
	p := page{Title: title, Owner: v.owner(), Path: v.URL.RequestURI(), Data: data}
	if v.session != nil {
		p.Forgery = v.session.forgery()
	}
	return p
}

// render answers with a page. It is written whole or not at all.
func (v *visit) render(status int, name, title string, data any) error {
	return v.execute(status, name, "layout.html", v.page(title, data))
}

// renderPart answers with a part of a page, for our scripts.
func (v *visit) renderPart(name string, data any) error {
	return v.execute(http.StatusOK, "parts", name, v.page("", data))
}

func (v *visit) execute(status int, set, name string, data any) error {
	t := templates()[set]
	if t == nil {
		return fmt.Errorf("there is no template %s", set)
	}
	var b bytes.Buffer
	if err := t.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	v.Header().Set("Content-Type", "text/html; charset=utf-8")
	v.WriteHeader(status)
	v.Write(b.Bytes()) // a browser that has gone is no one's error
	return nil
}

// ago writes how long something is past, for people.
func ago(t events.Time, now time.Time) string {
	d := now.Sub(t.Time)
	switch {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return plural(int(d/time.Minute), "minute") + " ago"
	case d < 24*time.Hour:
		return plural(int(d/time.Hour), "hour") + " ago"
	case d < 7*24*time.Hour:
		return plural(int(d/(24*time.Hour)), "day") + " ago"
	}
	return t.Format("2 January 2006")
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// bytesText writes a size for people: 1.2 MB.
func bytesText(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000_000:
		return fmt.Sprintf("%.0f KB", float64(n)/1e3)
	case n < 1000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}

// secondsText writes a duration for people: 0.8 s, 42 s, 3 min 5 s, 2 h 10 min.
func secondsText(d time.Duration) string {
	s := int(d.Round(time.Second) / time.Second)
	switch {
	case d < 50*time.Millisecond:
		return "" // nothing to speak of
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case s < 60:
		return fmt.Sprintf("%d s", s)
	case s < 3600:
		return fmt.Sprintf("%d min %d s", s/60, s%60)
	}
	return fmt.Sprintf("%d h %d min", s/3600, s/60%60)
}
