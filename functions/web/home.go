package web

import "net/http"

// home is GET /, for browsers.
func (s *site) home(v *visit) error {
	data := struct {
		Shipped []concept
		Recent  []listed
	}{Shipped: v.shippedList()}
	if v.session != nil {
		jobs, _, err := v.jobsPage("", 6)
		if err != nil {
			return err
		}
		for i := range jobs {
			data.Recent = append(data.Recent, v.listedOf(&jobs[i]))
		}
		v.cover(data.Recent)
	}
	return v.render(http.StatusOK, "home.html", "", data)
}

// examples is GET /examples: the pretrained concepts.
func (s *site) examples(v *visit) error {
	return v.render(http.StatusOK, "examples.html", "Examples", v.shippedList())
}
