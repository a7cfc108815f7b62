package api

import (
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/registry"
)

// uploadTTL is how long an upload_url takes a PUT: as long as a training waits for it.
const uploadTTL = time.Hour

// upload is POST /v1/upload/{name}: a place for a file. With {"train": {"version" or "model", "input",
// "webhook", …}} it also makes the training, which starts by itself when the file has arrived.
func (s *server) upload(c *call) error {
	name := c.PathValue("name")
	if err := checkFileName(name); err != nil {
		return err
	}
	body, err := s.body(c, s.Limits.JSON)
	if err != nil {
		return err
	}
	up := s.newUpload(c, name)
	var sub *submission
	if len(strings.TrimSpace(string(body))) > 0 {
		if sub, err = s.readTrain(c, body, up); err != nil {
			return err
		}
	}
	ctx := infra.WithPublicURL(c.Context(), c.links.API)
	put, err := s.Ports.Presigner.PresignPut(ctx, up.key, uploadTTL, s.Limits.Upload)
	if err != nil {
		return err
	}
	// The entry goes first: a job never waits for an upload that no one knows.
	err = s.reg.AddUpload(c.Context(), registry.Upload{Token: up.token, Owner: c.owner, Name: name, Key: up.key, CreatedAt: events.At(s.jobs.Now())})
	if err != nil {
		return err
	}
	answer := events.Upload{UploadURL: put, ServingURL: up.url}
	if sub != nil {
		j, err := s.submit(c, sub)
		if err != nil {
			return err
		}
		v := j.View("")
		answer.Prediction = &v
		c.Header().Set("Location", v.URLs.Get)
	}
	return c.writeJSON(http.StatusOK, answer)
}

// readTrain reads the body of an upload that is to be trained on. nil when it asks for none.
func (s *server) readTrain(c *call, body []byte, up *upload) (*submission, error) {
	o, err := events.ParseObject(body)
	if err != nil {
		return nil, badRequest(sentence(err.Error()))
	}
	if o["train"] == nil {
		return nil, nil
	}
	train, ok := o["train"].(map[string]any)
	if !ok {
		return nil, events.Invalid("invalid_type", "train", "Invalid type. Expected: object, given: "+jsonType(o["train"]))
	}
	name := "version"
	if train[name] == nil && train["model"] != nil {
		name = "model"
	}
	t, err := s.targetOf(c, train[name], name)
	if err != nil {
		return nil, err
	}
	if !t.program.Program.Trains() {
		return nil, unprocessable("Invalid version or not permitted", "This version draws; it cannot be trained. Train replicate/lora-training or replicate/lora-advanced-training.")
	}
	if train["input"] == nil {
		train["input"] = map[string]any{}
	}
	sub, err := readSubmission(c, train, t)
	if err != nil {
		return nil, err
	}
	if _, there := sub.input["instance_data"]; there {
		return nil, events.Invalid("condition", "input.instance_data", "instance_data is the file that is uploaded; leave it out")
	}
	if train["destination"] != nil {
		if sub.destination, err = s.destination(c, train); err != nil {
			return nil, err
		}
	}
	sub.input["instance_data"] = up.url
	sub.waitsFor = up
	return sub, nil
}

// newUpload draws a place for a file.
func (s *server) newUpload(c *call, name string) *upload {
	token := events.NewSortableID(s.jobs.Now()) + events.NewSecret()
	base := strings.TrimRight(s.UploadsURL, "/")
	if base == "" {
		base = c.links.API + "/serving"
	}
	return &upload{token: token, key: events.UploadKey(token, name), name: name, url: base + "/" + token + "/" + url.PathEscape(name)}
}

// checkFileName refuses names that could be a path or that no URL holds.
func checkFileName(name string) error {
	bad := name == "" || name == "." || name == ".." || len(name) > 255 || !utf8.ValidString(name) ||
		strings.ContainsAny(name, `/\`) || strings.ContainsFunc(name, func(r rune) bool { return r < 0x20 || r == 0x7f })
	if bad {
		return badRequest("The file name cannot be used: give 1 to 255 bytes without slashes and control characters.")
	}
	return nil
}
