package api_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// FuzzRequest holds that no request, whatever it holds, gets a 5xx, and that every error is a problem.
func FuzzRequest(f *testing.F) {
	s, err := apitest.Start(f.TempDir(), apitest.Options{Idle: true, Limits: api.Limits{OpenJobs: 1 << 30}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.Close() })
	token := s.Token(f, "me")
	f.Add("POST", "/v1/predictions", `{"version":"`+events.AnnouncedLoraID+`","input":{"prompt":"<1>"}}`, "", "application/json")
	f.Add("POST", "/v1/predictions", `{"version":"`+events.AnnouncedTrainingID+`","input":{"instance_data":"data:;base64,AAAA"}}`, "respond-async", "")
	f.Add("POST", "/v1/predictions", `{"version":"replicate/lora","input":{"lora_urls":"http://h/pbxt/a/b|http://h/v1/files/x"}}`, "", "")
	f.Add("POST", "/v1/upload/a%20b.zip", `{"train":{"model":"replicate/lora-training"}}`, "", "")
	f.Add("POST", "/v1/models", `{"owner":"me","name":"x","visibility":"private","hardware":"cpu"}`, "", "")
	f.Add("POST", "/v1/models/replicate/lora-training/versions/x/trainings", `{}`, "", "")
	f.Add("POST", "/v1/files", "--b\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\nx\r\n--b--\r\n", "", "multipart/form-data; boundary=b")
	f.Add("QUERY", "/v1/models", `"lora"`, "", "text/plain")
	f.Add("GET", "/v1/predictions?cursor=WyIjeCJd", "", "", "")
	f.Add("GET", "/v1/predictions?cursor=WyIiLCJ4Il0", "", "", "")
	f.Add("GET", "/pbxt/a/%00", "", "bytes=9-1", "")
	f.Add("GET", "//serving/..%2f/x", "", "", "")
	f.Add("GET", "/v1/streams/a-b", "", "", "")
	f.Add("DELETE", "/v1/models/me/x", "", "", "")
	f.Add("FOO", "/v1/account", "", "", "")
	f.Fuzz(func(t *testing.T, method, path, body, header, contentType string) {
		if strings.ContainsAny(method, " \t\r\n") || method == "" {
			return
		}
		u, err := url.ParseRequestURI(path)
		if err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "/_put") {
			return
		}
		r := httptest.NewRequest("GET", "/", strings.NewReader(body))
		r.Method, r.URL, r.Host, r.RequestURI = method, u, "127.0.0.1:8010", path
		r.Header.Set("Authorization", "Bearer "+token)
		if !strings.Contains(strings.ToLower(header), "wait") { // a wait is held for a second at least
			r.Header["Prefer"] = []string{header}
		}
		r.Header["Range"], r.Header["Cancel-After"], r.Header["Content-Type"] = []string{header}, []string{header}, []string{contentType}
		w := httptest.NewRecorder()
		s.Handler.ServeHTTP(w, r)
		if w.Code >= 500 {
			t.Errorf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		ct := w.Header().Get("Content-Type")
		if w.Code >= 400 && ct != "application/problem+json" {
			t.Errorf("%s %q: %d as %q", method, path, w.Code, ct)
		}
	})
}
