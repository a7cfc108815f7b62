package api_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// TestBadRequests holds each kind of fault to the error body that the clients expect, and to neither
// logging nor repeating what was sent.
func TestBadRequests(t *testing.T) {
	var log bytes.Buffer
	_, c := service(t, apitest.Options{Idle: true, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	const secret = "the-secret-prompt"
	train := func(in m) m { return m{"version": events.AnnouncedTrainingID, "input": in} }
	lora := func(in m) m {
		in["prompt"] = secret
		return m{"version": events.AnnouncedLoraID, "input": in}
	}
	zip := "https://x.invalid/" + secret + ".zip"
	tests := []struct {
		name, method, path string
		body               any
		status             int
		detail             string // must be in the detail
	}{
		{"ErrSyntax", "POST", "/v1/predictions", "{nope", 400, "JSON"},
		{"ErrEmpty", "POST", "/v1/predictions", "", 400, "empty"},
		{"ErrList", "POST", "/v1/predictions", "[1]", 400, "object"},
		{"ErrString", "POST", "/v1/predictions", `"x"`, 400, "object"},
		{"ErrNaN", "POST", "/v1/predictions", `{"version":"x","input":{"a":NaN}}`, 400, "JSON"},
		{"ErrDeep", "POST", "/v1/predictions", `{"version":"x","input":` + strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20001), 400, "JSON"},
		{"ErrUTF8", "POST", "/v1/predictions", "{\"version\":\"\xff\",\"input\":{}}", 400, "UTF-8"},
		{"ErrHugeNumber", "POST", "/v1/predictions", `{"version":"x","input":{"seed":1e999999999}}`, 400, "number"},
		{"ErrNoVersion", "POST", "/v1/predictions", m{"input": m{}}, 422, "version is required"},
		{"ErrVersionNull", "POST", "/v1/predictions", m{"version": nil, "input": m{}}, 422, "version"},
		{"ErrVersionNumber", "POST", "/v1/predictions", m{"version": 5, "input": m{}}, 422, "Expected: string, given: number"},
		{"ErrVersionUnknown", "POST", "/v1/predictions", m{"version": strings.Repeat("0", 64), "input": m{}}, 422, "does not exist"},
		{"ErrModelUnknown", "POST", "/v1/predictions", m{"version": "nobody/nothing", "input": m{}}, 422, "does not exist"},
		{"ErrVersionOfOther", "POST", "/v1/predictions", m{"version": "replicate/lora:" + events.AnnouncedTrainingID, "input": m{}}, 422, "does not exist"},
		{"ErrNoInput", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID}, 422, "input is required"},
		{"ErrInputList", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": []int{}}, 422, "given: array"},
		{"ErrInputNull", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": nil}, 422, "given: null"},
		{"ErrRequired", "POST", "/v1/predictions", train(m{"task": "style"}), 422, "- input: instance_data is required"},
		{"ErrNumber", "POST", "/v1/predictions", train(m{"instance_data": 5}), 422, "- input.instance_data: Invalid type. Expected: string, given: number"},
		{"ErrObject", "POST", "/v1/predictions", train(m{"instance_data": m{"auth": secret}}), 422, "given: object"},
		{"ErrScheme", "POST", "/v1/predictions", train(m{"instance_data": "file:///etc/" + secret}), 422, "Does not match format 'uri'"},
		{"ErrTask", "POST", "/v1/predictions", train(m{"instance_data": zip, "task": "cat"}), 422, `task must be one of the following: "face", "object", "style"`},
		{"ErrResolution", "POST", "/v1/predictions", train(m{"instance_data": zip, "resolution": "512"}), 422, "resolution"},
		{"ErrWidth", "POST", "/v1/predictions", lora(m{"width": 100}), 422, "width"},
		{"ErrSteps", "POST", "/v1/predictions", lora(m{"num_inference_steps": 1000000000}), 422, "num_inference_steps"},
		{"ErrBoolean", "POST", "/v1/predictions", lora(m{"guidance_scale": true}), 422, "given: boolean"},
		{"ErrNull", "POST", "/v1/predictions", lora(m{"seed": nil}), 422, "given: null"},
		{"ErrLong", "POST", "/v1/predictions", lora(m{"negative_prompt": strings.Repeat("x", 5000)}), 422, "String length"},
		{"ErrLoraURL", "POST", "/v1/predictions", lora(m{"lora_urls": "x|y"}), 422, "lora_urls"},
		{"ErrWebhook", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}, "webhook": "not a url"}, 422, "webhook"},
		{"ErrWebhookScheme", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}, "webhook": "data:,x"}, 422, "webhook"},
		{"ErrWebhookUser", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}, "webhook": "https://me:" + secret + "@x.invalid/"}, 422, "user name"},
		{"ErrWebhookType", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}, "webhook": 5}, 422, "webhook"},
		{"ErrFilter", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}, "webhook": "https://x.invalid", "webhook_events_filter": []string{"sometimes"}}, 422, "webhook_events_filter"},
		{"ErrFilterType", "POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{}, "webhook_events_filter": "start"}, 422, "webhook_events_filter"},
		{"ErrTrainingOfLora", "POST", "/v1/models/replicate/lora/versions/" + events.AnnouncedLoraID + "/trainings", m{"destination": "me/x", "input": m{}}, 422, "draws"},
		{"ErrDestination", "POST", "/v1/models/replicate/lora-training/versions/" + events.AnnouncedTrainingID + "/trainings", m{"destination": "me/none", "input": m{"instance_data": zip}}, 404, "destination"},
		{"ErrModelName", "POST", "/v1/models", m{"owner": "me", "name": "../x", "visibility": "private", "hardware": "cpu"}, 422, "name"},
		{"ErrModelHardware", "POST", "/v1/models", m{"owner": "me", "name": "x", "visibility": "private", "hardware": "moon"}, 422, "hardware"},
		{"ErrModelVisibility", "POST", "/v1/models", m{"owner": "me", "name": "x", "visibility": "hidden", "hardware": "cpu"}, 422, "visibility"},
		{"ErrModelMissing", "POST", "/v1/models", m{"owner": "me"}, 422, "is required"},
		{"ErrBuiltInDelete", "DELETE", "/v1/models/replicate/lora", nil, 403, "Built-in"},
		{"ErrBuiltInVersionDelete", "DELETE", "/v1/models/replicate/lora/versions/" + events.AnnouncedLoraID, nil, 403, "built-in"},
		{"ErrFileJSON", "POST", "/v1/files", m{"content": "x"}, 400, "multipart"},
		{"ErrUploadSlash", "POST", "/v1/upload/a%2fb.zip", nil, 400, "file name"},
		{"ErrUploadDots", "POST", "/v1/upload/%2e%2e", nil, 400, "file name"},
		{"ErrUploadNUL", "POST", "/v1/upload/nul%00.zip", nil, 400, "file name"},
		{"ErrUploadLong", "POST", "/v1/upload/" + strings.Repeat("x", 256), nil, 400, "file name"},
		{"ErrCursor", "GET", "/v1/predictions?cursor=garbage", nil, 400, "cursor"},
		{"ErrCursorForged", "GET", "/v1/predictions?cursor=WyJ4Il0", nil, 400, "cursor"},
		{"ErrFilesCursorForged", "GET", "/v1/files?cursor=WyJ4Il0", nil, 400, "cursor"},
		{"ErrUnknownPath", "GET", "/v1/nope", nil, 404, "could not be found"},
		{"ErrUnknownRoot", "GET", "/v2/predictions", nil, 404, "could not be found"},
		{"ErrUnknownID", "GET", "/v1/predictions/nosuch", nil, 404, "could not be found"},
		{"ErrUnknownFile", "GET", "/v1/files/nosuch", nil, 404, "File not found"},
		{"ErrTraversal", "GET", "/v1/predictions/%2e%2e", nil, 404, "could not be found"},
		{"ErrDots", "GET", "/v1/predictions/../account", nil, 404, "could not be found"},
		{"ErrDotsPost", "POST", "/v1/../v1/predictions", lora(m{}), 404, "could not be found"},
		{"ErrDot", "GET", "/v1/./account", nil, 404, "could not be found"},
		{"ErrSlashes", "GET", "/v1//account", nil, 404, "could not be found"},
		{"ErrFinalSlashes", "GET", "/v1/account//", nil, 404, "could not be found"},
		{"ErrServingDots", "GET", "/serving/x/../y", nil, 404, "could not be found"},
		{"ErrGzip", "POST", "/v1/predictions", "\x1f\x8b\x08\x00\x00\x00\x00\x00", 415, "send it uncompressed"},
		{"ErrBOMAlone", "POST", "/v1/predictions", "\ufeff", 400, "empty"},
		{"ErrOutputTraversal", "GET", "/pbxt/..%2f..%2fetc/passwd", nil, 404, "could not be found"},
		{"ErrServingTraversal", "GET", "/serving/x/..%2f..%2fetc%2fpasswd", nil, 404, "could not be found"},
		{"ErrVersionPath", "GET", "/v1/models/replicate/lora/versions/" + events.AnnouncedTrainingID, nil, 404, "could not be found"},
		{"ErrDeployment", "GET", "/v1/deployments/a/b", nil, 404, "could not be found"},
		{"ErrTrailingSlash", "GET", "/v1/predictions/", nil, 404, "could not be found"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := c.Do(tt.method, tt.path, tt.body)
			if a.Status != tt.status {
				t.Fatalf("got %d, want %d: %.300s", a.Status, tt.status, a.Body)
			}
			p := a.Problem(t)
			if !strings.Contains(p.Detail, tt.detail) {
				t.Errorf("detail %q does not say %q", p.Detail, tt.detail)
			}
			if strings.Contains(string(a.Body), secret) {
				t.Errorf("the answer repeats the input: %s", a.Body)
			}
			if a.Status == 422 && p.Title == "Input validation failed" && len(p.InvalidFields) == 0 {
				t.Error("no invalid_fields")
			}
			if a.Header.Get("Access-Control-Allow-Origin") == "" {
				t.Error("a page could not read this error")
			}
		})
	}
	if strings.Contains(log.String(), secret) || strings.Contains(log.String(), c.Token) {
		t.Errorf("the log has an input or a token:\n%s", log.String())
	}
	var page events.Page
	c.Do("GET", "/v1/predictions", nil).JSON(t, &page)
	if len(page.Results) != 0 {
		t.Errorf("%d jobs were made by refused requests", len(page.Results))
	}
}

// TestMethods holds every path to 405 with Allow for the methods it does not have.
func TestMethods(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true})
	for path, ms := range api.Routes() {
		url := strings.NewReplacer("{$}", "", "{", "", "}", "").Replace(path)
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "QUERY", "FOO", "TRACE"} {
			if _, ok := ms[method]; ok {
				continue
			}
			a := c.Do(method, url, nil)
			if a.Status != http.StatusMethodNotAllowed {
				t.Errorf("%s %s: %d", method, path, a.Status)
				continue
			}
			a.Problem(t)
			for have := range ms {
				if !strings.Contains(a.Header.Get("Allow"), have) {
					t.Errorf("%s %s: Allow %q lacks %s", method, path, a.Header.Get("Allow"), have)
				}
			}
		}
		if a := (&apitest.Client{T: t, URL: c.URL}).Do("OPTIONS", url, nil); a.Status != http.StatusNoContent {
			t.Errorf("OPTIONS %s without a token: %d", path, a.Status)
		}
	}
}

// TestLimits holds an owner to what one may have open and send.
func TestLimits(t *testing.T) {
	s, c := service(t, apitest.Options{Idle: true, Limits: api.Limits{OpenJobs: 3, JSON: 10000, File: 1000, Upload: 500}})
	var last events.Prediction
	for range 3 {
		last = c.Draw(m{"prompt": "x"})
	}
	a := c.Do("POST", "/v1/predictions", m{"version": events.AnnouncedLoraID, "input": m{"prompt": "x"}})
	if p := a.Problem(t); a.Status != 429 || a.Header.Get("Retry-After") != "1" || !strings.HasPrefix(p.Detail, "Request was throttled.") {
		t.Errorf("the fourth: %d %v %s", a.Status, a.Header, a.Body)
	}
	other := &apitest.Client{T: t, URL: c.URL, Token: s.Token(t, "bob")}
	other.Draw(m{"prompt": "x"})
	c.Prediction(200, "POST", last.URLs.Cancel, nil)
	c.Draw(m{"prompt": "x"})

	for name, body := range map[string]any{"Length": strings.Repeat("x", 10001), "Chunked": io.MultiReader(strings.NewReader(strings.Repeat("x", 10001)))} {
		if a := c.Do("POST", "/v1/predictions", body); a.Status != 413 || !strings.Contains(a.Problem(t).Detail, "POST /v1/upload") {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		}
	}
	multipart := func(n int) string {
		return "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\n" + strings.Repeat("x", n) + "\r\n--b--\r\n"
	}
	for n, want := range map[int]int{1000: 201, 1001: 413, 2 << 20: 413} {
		if a := c.Do("POST", "/v1/files", multipart(n), "Content-Type", "multipart/form-data; boundary=b"); a.Status != want {
			t.Errorf("a file of %d bytes: %d %s", n, a.Status, a.Body)
		}
	}
	if a := (&apitest.Client{T: t}).Do("PUT", c.Upload("x", nil, nil).UploadURL, make([]byte, 501)); a.Status != 413 {
		t.Errorf("an upload of 501 bytes: %d", a.Status)
	}
}

// TestBrokenMultipart holds that no half of a form becomes a file.
func TestBrokenMultipart(t *testing.T) {
	s, c := service(t, apitest.Options{Idle: true})
	content := "--b\r\nContent-Disposition: form-data; name=\"content\"; filename=\"x\"\r\n\r\nPK\r\n"
	for name, body := range map[string]string{
		"Empty": "", "NoEnd": content, "CutShort": content[:len(content)-4], "NoContent": "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{}\r\n--b--\r\n",
		"BadMetadata": content + "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n[1\r\n--b--\r\n", "Twice": content + content + "--b--\r\n",
		"LongField": content + "--b\r\nContent-Disposition: form-data; name=\"type\"\r\n\r\n" + strings.Repeat("x", 70000) + "\r\n--b--\r\n",
	} {
		if a := c.Do("POST", "/v1/files", body, "Content-Type", "multipart/form-data; boundary=b"); a.Status != 400 {
			t.Errorf("%s: %d %s", name, a.Status, a.Body)
		} else {
			a.Problem(t)
		}
	}
	var page events.Page
	c.Do("GET", "/v1/files", nil).JSON(t, &page)
	blobs, err := s.Ports.Blobs.List(t.Context(), "files/", "", 0)
	if len(page.Results) != 0 || err != nil || len(blobs.Items) != 0 {
		t.Errorf("%d files and %d blobs stay, %v", len(page.Results), len(blobs.Items), err)
	}
}

// TestFileNames holds the forms in which names arrive, and that none becomes a path.
func TestFileNames(t *testing.T) {
	_, c := service(t, apitest.Options{Idle: true})
	for disposition, want := range map[string]string{
		`filename="größe & 名前 (1).zip"`:   "größe & 名前 (1).zip",
		`filename="../../etc/passwd"`:     "passwd",
		`filename="C:\dir\x.zip"`:         "x.zip",
		`filename*=UTF-8''na%C3%AFve.zip`: "naïve.zip",
		``:                                "file",
		`filename=".."`:                   "file",
	} {
		body := fmt.Sprintf("--b\r\nContent-Disposition: form-data; name=\"content\"; %s\r\n\r\nPK\r\n--b--\r\n", disposition)
		a := c.Do("POST", "/v1/files", strings.Replace(body, "; \r", "\r", 1), "Content-Type", "multipart/form-data; boundary=b")
		var f events.File
		a.JSON(t, &f)
		if a.Status != 201 || f.Name != want {
			t.Errorf("%s: %d, name %q, want %q", disposition, a.Status, f.Name, want)
		}
	}
}
