package api

// Routes are the paths with their methods, and whether they need a token.
func Routes() map[string]map[string]bool {
	out := map[string]map[string]bool{}
	for _, r := range (&server{}).routes() {
		out[r.path] = map[string]bool{}
		for method := range r.methods {
			out[r.path][method] = r.private
		}
	}
	return out
}
