package api

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
)

// maxDepth is how many pages back "previous" leads.
const maxDepth = 30

// place is what a cursor holds: the store's cursors of the pages that lead to this one. The first
// page's place is an anchor instead, "#" and the id of its first item, because newer items push it
// away from the list's head.
type place []string

func parseCursor(q url.Values) (place, error) {
	text := q.Get("cursor")
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) > 32<<10 {
		return nil, badRequest("The cursor is not one that this server gave.")
	}
	var p place
	if err := json.Unmarshal(b, &p); err != nil || len(p) == 0 || len(p) > maxDepth+1 {
		return nil, badRequest("The cursor is not one that this server gave.")
	}
	return p, nil
}

func (p place) String() string {
	b, err := json.Marshal([]string(p))
	if err != nil {
		return "" // strings always marshal
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// start is the store's cursor of the page, and anchor the id that its first item must have ("" for none).
func (p place) start() (cursor, anchor string) {
	if len(p) == 0 {
		return "", ""
	}
	last := p[len(p)-1]
	if id, ok := strings.CutPrefix(last, "#"); ok {
		return "", id
	}
	return last, ""
}

// links returns the absolute URLs of the pages after and before the one at p, whose first item is
// first and whose following page begins at the store's cursor next.
func (p place) links(path, first, next string) (after, before *string) {
	abs := func(q place) *string {
		u := path + "?cursor=" + q.String()
		return &u
	}
	if len(p) == 0 {
		p = place{"#" + first}
	}
	if next != "" {
		q := append(append(place{}, p...), next)
		if len(q) > maxDepth {
			q = q[len(q)-maxDepth:]
		}
		after = abs(q)
	}
	if len(p) > 1 {
		before = abs(p[:len(p)-1])
	}
	return after, before
}

// pageSize is how many results a page has at most.
const pageSize = 100

// readPage reads the page at p. fetch reads at most limit items from a cursor of the store; items
// are skipped until the anchor is met, so that a first page stays the one it was.
func readPage[T any](p place, id func(T) string, fetch func(cursor string, limit int) ([]T, string, error)) (items []T, next string, err error) {
	cursor, anchor := p.start()
	for {
		items, next, err = fetch(cursor, pageSize)
		if err != nil || anchor == "" {
			return items, next, err
		}
		for i := range items {
			if id(items[i]) != anchor {
				continue
			}
			items = items[i:]
			if i > 0 && next != "" {
				var more []T
				more, next, err = fetch(next, i)
				items = append(items, more...)
			}
			return items, next, err
		}
		if next == "" {
			return nil, "", badRequest("The cursor's page is no longer there; begin anew.")
		}
		cursor = next
	}
}
