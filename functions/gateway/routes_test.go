package gateway_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/functions/api/apitest"
)

// elsewhere are operations without a route, and who answers them.
var elsewhere = map[string]string{
	"GET /":              "function web, with a page",
	"GET /v1/streams/{}": "nobody: there is no streaming on this platform, urls.stream is left out",
	"GET /pbxt/{}/{}":    "the content network",
	"GET /serving/{}/{}": "the content network",
}

// TestRoutes: template.yaml has a route for each operation that the API's own
// description tells of, and none besides.
func TestRoutes(t *testing.T) {
	text, err := os.ReadFile("../../template.yaml")
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]bool{}
	for _, m := range regexp.MustCompile(`RouteKey: "([A-Z]+ /\S*)"`).FindAllStringSubmatch(string(text), -1) {
		routes[params.ReplaceAllString(m[1], "{}")] = true
	}
	s, err := apitest.Start(t.TempDir(), apitest.Options{Idle: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	w := httptest.NewRecorder()
	s.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/openapi.json", nil))
	var description struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(w.Body.Bytes(), &description); err != nil {
		t.Fatal(err)
	}
	operations := map[string]bool{"GET /openapi.json": true}
	for path, methods := range description.Paths {
		for _, method := range []string{"get", "post", "put", "patch", "delete"} {
			if _, ok := methods[method]; ok {
				operations[params.ReplaceAllString(strings.ToUpper(method)+" "+path, "{}")] = true
			}
		}
	}
	for o := range operations {
		if !routes[o] && elsewhere[o] == "" {
			t.Errorf("%s has no route in template.yaml", o)
		}
	}
	for r := range routes {
		if !operations[r] {
			t.Errorf("template.yaml routes %s, which the API does not have", r)
		}
	}
}

// params are the variables in a path, whose names do not matter.
var params = regexp.MustCompile(`\{[^}]*\}`)
