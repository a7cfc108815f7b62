package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"image/jpeg"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// The pretrained concepts that ship, made by scripts/concepts from the openly licensed pictures that NOTICE
// names. concepts/index.json lists them.
//
//go:embed concepts
var conceptFiles embed.FS

func shippedConcepts() fs.FS {
	sub, err := fs.Sub(conceptFiles, "concepts")
	if err != nil {
		panic(err) // the folder is embedded
	}
	return sub
}

// shelfEntry is one concept of index.json.
type shelfEntry struct {
	Slug    string         `json:"slug"`
	Name    string         `json:"name"`
	About   string         `json:"about"`
	Task    string         `json:"task"` // object or style
	Base    string         `json:"base"`
	Scale   float64        `json:"scale"`
	Input   map[string]any `json:"input"`   // settings that suit it
	Prompts []string       `json:"prompts"` // of the contact sheet's pictures, by row
	Thanks  string         `json:"thanks"`  // whose pictures, under which licence
}

// shelf is the concepts that ship.
type shelf struct {
	concepts []concept
	content  map[string][]byte // by slug: the file
	sheets   map[string][]byte // by slug: the contact sheet, JPEG

	mu        sync.Mutex
	installed map[string]bool
	later     time.Time // before then nothing is installed: it has just failed
}

// openShelf reads index.json and, for each concept, {slug}.safetensors and {slug}.jpg.
func openShelf(files fs.FS) (*shelf, error) {
	index, err := fs.ReadFile(files, "index.json")
	if err != nil {
		return nil, err
	}
	var entries []shelfEntry
	if err := json.Unmarshal(index, &entries); err != nil {
		return nil, fmt.Errorf("concepts/index.json: %w", err)
	}
	s := &shelf{content: map[string][]byte{}, sheets: map[string][]byte{}, installed: map[string]bool{}}
	for _, e := range entries {
		content, err := fs.ReadFile(files, e.Slug+".safetensors")
		if err != nil {
			return nil, err
		}
		sheet, err := fs.ReadFile(files, e.Slug+".jpg")
		if err != nil {
			return nil, err
		}
		size, err := jpeg.DecodeConfig(strings.NewReader(string(sheet)))
		if err != nil {
			return nil, fmt.Errorf("concepts/%s.jpg: %w", e.Slug, err)
		}
		sum, sheetSum := sha256.Sum256(content), sha256.Sum256(sheet)
		c := concept{
			ID: e.Slug, Name: e.Name, About: e.About, Task: e.Task, Base: e.Base, Scale: e.Scale, Input: e.Input, Thanks: e.Thanks,
			Shipped: true, File: e.Slug + ".safetensors", Size: int64(len(content)), SheetW: size.Width, SheetH: size.Height,
			Sheet: "/-/concepts/" + e.Slug + "/" + hex.EncodeToString(sheetSum[:6]) + ".jpg",
			key:   events.OutputKeyOfPath("shipped-"+hex.EncodeToString(sum[:16]), e.Slug+".safetensors"),
		}
		s.concepts = append(s.concepts, c)
		s.content[e.Slug], s.sheets[e.Slug] = content, sheet
	}
	return s, nil
}

// shippedList is the shelf with addresses for this visitor.
func (v *visit) shippedList() []concept {
	out := make([]concept, 0, len(v.shipped.concepts))
	for _, c := range v.shipped.concepts {
		out = append(out, v.address(c))
	}
	return out
}

// shippedNamed finds a concept of the shelf.
func (v *visit) shippedNamed(slug string) (concept, bool) {
	for _, c := range v.shipped.concepts {
		if c.ID == slug {
			return v.address(c), true
		}
	}
	return concept{}, false
}

func (v *visit) address(c concept) concept {
	c.URL = (&events.Job{Links: events.Links{Outputs: v.outputs()}}).OutputURL(events.OutputObject{Key: c.key})
	_, served := v.Catalogue.On(events.ProgramLora, c.Base)
	c.Missing = !served
	if served {
		v.install(c)
	}
	return c
}

// installPause is how long after a failure nothing is installed.
const installPause = time.Minute

// install puts a shipped concept into the store, where runners and the API find it, once a process. What
// fails is noted and tried again a while later; drawing with the concept says that it is not there.
func (v *visit) install(c concept) {
	s := v.shipped
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.installed[c.ID] || v.jobs.Now().Before(s.later) {
		return
	}
	ctx := context.WithoutCancel(v.Context())
	_, err := v.Ports.Blobs.Stat(ctx, c.key, "")
	if errors.Is(err, infra.ErrNotFound) {
		_, err = v.Ports.Blobs.Put(ctx, c.key, bytes.NewReader(s.content[c.ID]), infra.PutOptions{IfAbsent: true})
		if errors.Is(err, infra.ErrExists) {
			err = nil
		}
	}
	if err != nil {
		v.Log.Warn("a concept that ships could not be put into the store", "concept", c.ID, "error", err)
		s.later = v.jobs.Now().Add(installPause)
		return
	}
	s.installed[c.ID] = true
}

// serveConceptPicture is GET /-/concepts/{slug}/{name}: a contact sheet.
func (s *site) serveConceptPicture(w http.ResponseWriter, r *http.Request) {
	sheet, ok := s.shipped.sheets[r.PathValue("slug")]
	if !ok || path.Ext(r.PathValue("name")) != ".jpg" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "image/jpeg")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Write(sheet) // a browser that has gone is no one's error
}
