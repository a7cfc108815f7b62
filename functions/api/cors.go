package api

import "net/http"

// Pages of any origin may use the API: it is the token that counts, and no cookie is taken here.

// allowOrigin sets the headers of every answer, errors too, or a page could not read them.
func allowOrigin(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Expose-Headers", "Location, Preference-Applied, ETag, Content-Range, Accept-Ranges, Retry-After")
}

// preflight answers OPTIONS, which carries no token. The npm client sets User-Agent, which some
// browsers ask leave for.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, POST, PUT, PATCH, DELETE, QUERY, OPTIONS")
	h.Set("Access-Control-Allow-Headers", "authorization, content-type, prefer, user-agent, cancel-after, last-event-id, range, if-none-match")
	h.Set("Access-Control-Max-Age", "600")
	w.WriteHeader(http.StatusNoContent)
}
