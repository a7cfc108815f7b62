package api_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/functions/api"
	"github.com/lowrank/lowrank/functions/api/apitest"
)

// TestOpenAPI holds the document to the routes, its references to their targets, and answers to its
// schemas.
func TestOpenAPI(t *testing.T) {
	_, c := service(t, apitest.Options{})
	a := (&apitest.Client{T: t, URL: c.URL}).Do("GET", "/openapi.json", nil)
	var doc struct {
		OpenAPI string                                `json:"openapi"`
		Paths   map[string]map[string]json.RawMessage `json:"paths"`
	}
	a.JSON(t, &doc)
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi is %q", doc.OpenAPI)
	}
	routes := api.Routes()
	for path, methods := range routes {
		item := doc.Paths[strings.ReplaceAll(path, "{$}", "")]
		for method := range methods {
			if method == "QUERY" {
				method = "x-query" // OpenAPI 3.1 has no such method
			}
			if item[strings.ToLower(method)] == nil {
				t.Errorf("%s %s is not documented", method, path)
			}
		}
	}
	for path, item := range doc.Paths {
		route := path
		if path == "/" {
			route = "/{$}"
		}
		for method := range item {
			if _, ok := routes[route][strings.ToUpper(method)]; !ok && method != "parameters" && method != "x-query" {
				t.Errorf("%s %s is documented and not there", method, path)
			}
		}
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(a.Body))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("https://lowrank.test/openapi.json", v); err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*jsonschema.Schema{}
	for name := range v.(map[string]any)["components"].(map[string]any)["schemas"].(map[string]any) {
		if schemas[name], err = compiler.Compile("https://lowrank.test/openapi.json#/components/schemas/" + name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	p := c.Wait(c.Draw(m{"prompt": "x"}).ID)
	file := c.File("x.zip", []byte("PK"))
	for path, schema := range map[string]string{
		"/v1/predictions/" + string(p.ID): "Prediction", "/v1/predictions": "Page", "/v1/files": "Page", "/v1/files/" + file.ID: "File", "/v1/account": "Account",
		"/v1/models": "Page", "/v1/models/replicate/lora": "Model", "/v1/models/cloneofsimo/lora/versions/" + events.AnnouncedLoraID: "Version", "/v1/nope": "Problem", "/v1/deployments": "Page",
	} {
		got, err := jsonschema.UnmarshalJSON(bytes.NewReader(c.Do("GET", path, nil).Body))
		if err != nil {
			t.Fatal(err)
		}
		if err := schemas[schema].Validate(got); err != nil {
			t.Errorf("GET %s: %v", path, err)
		}
	}
}
