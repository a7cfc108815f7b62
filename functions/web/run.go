package web

import (
	"bytes"
	"encoding/json"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"

	"github.com/lowrank/lowrank/events"
)

// Limits of a form that is posted. Files come inside one only without JavaScript; with it they go straight to
// the store.
const (
	maxFormBody   = 110 << 20
	maxFormMemory = 1 << 20
)

// run is POST /{owner}/{model}: the form is sent. Our script gets the new prediction's address as JSON, a
// browser without it is led there.
func (s *site) run(v *visit) error {
	t, err := v.target(v.PathValue("owner"), v.PathValue("model"), v.baseChosen())
	if err != nil {
		return err
	}
	f := newForm(t.Program, t.Schema)
	id, err := v.submit(t, f)
	bad, isForm := err.(invalidForm)
	switch {
	case isForm && v.byScript():
		v.writeJSON(http.StatusUnprocessableEntity, map[string]any{"fields": map[string]string(bad)})
		return nil
	case isForm:
		f.openSet()
		f.mark(bad)
		return v.renderDemo(http.StatusUnprocessableEntity, t, f, nil)
	case err != nil:
		return err
	}
	where := "/predictions/" + string(id)
	if v.byScript() {
		v.writeJSON(http.StatusCreated, map[string]string{"url": where})
		return nil
	}
	http.Redirect(v.ResponseWriter, v.Request, where, http.StatusSeeOther)
	return nil
}

// baseChosen is the base that the form was made for.
func (v *visit) baseChosen() string {
	if err := v.ParseForm(); err != nil {
		return ""
	}
	return v.PostForm.Get("_base")
}

// submit makes the prediction of a posted form. What is wrong with it comes as an invalidForm.
func (v *visit) submit(t *target, f *form) (events.JobID, error) {
	input, bad := f.decode(v.PostForm)
	if err := v.takeFiles(f, input); err != nil {
		return "", err
	}
	if bad != nil {
		return "", bad
	}
	if _, there := input["base"]; !there && t.Version.Base.Name != v.Catalogue.Bases()[0].Name && !t.Own {
		input["base"] = t.Version.Base.Name
	}
	body, err := events.Marshal(map[string]any{"input": input})
	if err != nil {
		return "", err
	}
	a, err := v.call(v.Context(), http.MethodPost, "/v1/models"+t.Path()+"/predictions", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	if a.status != http.StatusCreated {
		return "", a.problemOf(f)
	}
	var p struct {
		ID events.JobID `json:"id"`
	}
	if err := json.Unmarshal(a.body.Bytes(), &p); err != nil {
		return "", err
	}
	return p.ID, nil
}

// takeFiles posts the files that came inside the form to /v1/files, and puts their addresses in their
// fields' places.
func (v *visit) takeFiles(f *form, input map[string]any) error {
	if v.MultipartForm == nil {
		return nil
	}
	for _, x := range f.order {
		files := v.MultipartForm.File[x.Name+"_file"]
		if x.Kind != kindFile || len(files) == 0 || files[0].Size == 0 {
			continue
		}
		address, err := v.postFile(files[0])
		if err != nil {
			if e, ok := err.(*shownError); ok {
				return invalidForm{x.Name: e.Detail}
			}
			return err
		}
		x.Value = address
		input[x.Name] = address
	}
	return nil
}

// postFile streams a file to the API.
func (v *visit) postFile(h *multipart.FileHeader) (address string, err error) {
	file, err := h.Open()
	if err != nil {
		return "", err
	}
	defer file.Close()
	r, w := io.Pipe()
	m := multipart.NewWriter(w)
	go func() {
		part, err := m.CreateFormFile("content", h.Filename)
		if err == nil {
			_, err = io.Copy(part, file)
		}
		if err == nil {
			err = m.Close()
		}
		w.CloseWithError(err)
	}()
	defer r.Close() // frees the writer if the API has stopped reading
	a, err := v.call(v.Context(), http.MethodPost, "/v1/files", m.FormDataContentType(), r)
	if err != nil {
		return "", err
	}
	if a.status != http.StatusCreated {
		return "", a.problemOf(nil)
	}
	var stored events.File
	if err := json.Unmarshal(a.body.Bytes(), &stored); err != nil {
		return "", err
	}
	return stored.URLs.Get, nil
}

// upload is POST /-/upload/{name}: where the script PUTs a file.
func (s *site) upload(v *visit) error {
	a, err := v.call(v.Context(), http.MethodPost, "/v1/upload/"+url.PathEscape(v.PathValue("name")), "", http.NoBody)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK {
		return a.problemOf(nil)
	}
	var up events.Upload
	if err := json.Unmarshal(a.body.Bytes(), &up); err != nil {
		return err
	}
	v.writeJSON(http.StatusOK, up)
	return nil
}
