package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// TestOwners holds that one owner sees, uses and ends nothing of another's.
func TestOwners(t *testing.T) {
	s, alice := service(t, apitest.Options{})
	bob := &apitest.Client{T: t, URL: alice.URL, Token: s.Token(t, "bob")}
	zip := apitest.Zip(1)
	if a := alice.Do("POST", "/v1/models", m{"owner": "me", "name": "mine", "visibility": "public", "hardware": "cpu"}); a.Status != 201 {
		t.Fatal(a.Status)
	}
	file := alice.File("x.zip", zip)
	tr := alice.Prediction(201, "POST", "/v1/models/replicate/lora-training/versions/"+events.AnnouncedTrainingID+"/trainings", m{"destination": "me/mine", "input": m{"instance_data": file.URLs.Get}})
	done := alice.Wait(tr.ID)
	version := strings.TrimPrefix(done.Output.(map[string]any)["version"].(string), "me/mine:")
	p := alice.Wait(alice.Draw(m{"prompt": "secret of alice"}).ID)

	for _, tt := range []struct {
		method, path string
		body         any
		status       int
	}{
		{"GET", "/v1/predictions/" + string(p.ID), nil, 404},
		{"POST", "/v1/predictions/" + string(p.ID) + "/cancel", nil, 404},
		{"DELETE", "/v1/predictions/" + string(p.ID), nil, 404},
		{"GET", "/v1/trainings/" + string(tr.ID), nil, 404},
		{"POST", "/v1/trainings/" + string(tr.ID) + "/cancel", nil, 404},
		{"DELETE", "/v1/trainings/" + string(tr.ID), nil, 404},
		{"GET", "/v1/files/" + file.ID, nil, 404},
		{"DELETE", "/v1/files/" + file.ID, nil, 404},
		{"GET", "/v1/models/me/mine", nil, 404},
		{"DELETE", "/v1/models/me/mine", nil, 404},
		{"GET", "/v1/models/me/mine/versions", nil, 404},
		{"GET", "/v1/models/me/mine/versions/" + version, nil, 404},
		{"DELETE", "/v1/models/me/mine/versions/" + version, nil, 404},
		{"POST", "/v1/models/me/mine/predictions", m{"input": m{}}, 404},
		{"POST", "/v1/predictions", m{"version": version, "input": m{}}, 422},
		{"POST", "/v1/predictions", m{"version": "me/mine", "input": m{}}, 422},
		{"POST", "/v1/predictions", m{"version": events.AnnouncedTrainingID, "input": m{"instance_data": file.URLs.Get}}, 422},
		{"POST", "/v1/models/replicate/lora-training/versions/" + events.AnnouncedTrainingID + "/trainings", m{"destination": "me/mine", "input": m{"instance_data": "https://x.invalid/a.zip"}}, 404},
		{"POST", "/v1/models", m{"owner": "me", "name": "theirs", "visibility": "public", "hardware": "cpu"}, 403},
	} {
		if a := bob.Do(tt.method, tt.path, tt.body); a.Status != tt.status {
			t.Errorf("bob: %s %s: got %d, want %d: %s", tt.method, tt.path, a.Status, tt.status, a.Body)
		} else if a.Problem(t); strings.Contains(string(a.Body), "alice") {
			t.Errorf("%s %s tells of alice", tt.method, tt.path)
		}
	}
	for _, path := range []string{"/v1/predictions", "/v1/trainings", "/v1/files"} {
		var page events.Page
		bob.Do("GET", path, nil).JSON(t, &page)
		if len(page.Results) != 0 {
			t.Errorf("bob lists %d at %s", len(page.Results), path)
		}
	}
	for _, body := range [][]byte{bob.Do("GET", "/v1/models", nil).Body, bob.Do("QUERY", "/v1/models", "mine").Body} {
		if strings.Contains(string(body), `"mine"`) {
			t.Error("bob sees alice's model in a list")
		}
	}
	key := func(c *apitest.Client) string { return string(c.Do("GET", "/v1/webhooks/default/secret", nil).Body) }
	first := key(alice)
	if first == key(bob) || first != key(alice) {
		t.Error("webhook secrets are shared, or change")
	}
	if a := alice.Do("GET", "/v1/predictions/"+string(p.ID), nil); a.Status != 200 {
		t.Errorf("alice herself: %d", a.Status)
	}
}

// TestTokens holds every private path to a token, before anything else is looked at.
func TestTokens(t *testing.T) {
	s, c := service(t, apitest.Options{Idle: true})
	for path, ms := range api.Routes() {
		for method, private := range ms {
			if !private {
				continue
			}
			url := strings.NewReplacer("{id}", "abcdefghijklmnopqrstuvwxyz", "{owner}", "me", "{model}", "x", "{name}", "x.zip", "{slug}", "lora").Replace(path)
			for name, header := range map[string]string{"none": "", "wrong": "Bearer nope", "empty": "Bearer ", "basic": "Basic YTpi", "bare": c.Token, "longer": "Token " + c.Token + "x"} {
				anonymous := &apitest.Client{T: t, URL: c.URL}
				a := anonymous.Do(method, url, `{"x":`, "Authorization", header)
				if a.Status != http.StatusUnauthorized {
					t.Errorf("%s %s with %s token: %d", method, path, name, a.Status)
				} else if p := a.Problem(t); p.Title != "Unauthenticated" {
					t.Errorf("title %q", p.Title)
				}
			}
		}
	}
	for _, header := range []string{"Bearer ", "bearer ", "Token ", "token ", "TOKEN  "} {
		anonymous := &apitest.Client{T: t, URL: c.URL}
		if a := anonymous.Do("GET", "/v1/account", nil, "Authorization", header+c.Token); a.Status != 200 {
			t.Errorf("%q: %d", header, a.Status)
		}
	}
	tokens, err := s.Registry.Tokens(t.Context())
	if err != nil || len(tokens) != 1 || strings.Contains(tokens[0].Hash, c.Token) {
		t.Fatalf("stored tokens: %v, %v", tokens, err)
	}
	if _, err := s.Registry.RevokeToken(t.Context(), tokens[0].Hash[:8]); err != nil {
		t.Fatal(err)
	}
	if a := c.Do("GET", "/v1/account", nil); a.Status != 401 {
		t.Errorf("a revoked token: %d", a.Status)
	}
}
