package api

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/events/schemas"
)

// operation documents one method of one path; answer and body name schemas.
type operation struct {
	about  string
	body   any // of the request's JSON; nil: none
	status int
	answer any // nil: no body
}

type object = map[string]any

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// page is a page of that schema.
func pageOf(name string) object {
	return object{"allOf": []any{ref("Page"), object{"properties": object{"results": object{"items": ref(name)}}}}}
}

func properties(required []string, p object) object {
	o := object{"type": "object", "properties": p}
	if len(required) > 0 {
		o["required"] = required
	}
	return o
}

// operations are the documented methods by path. A test holds them to the routes.
func (s *server) operations() map[string]map[string]operation {
	text := object{"type": "string"}
	uri := object{"type": "string", "format": "uri"}
	webhook := object{
		"webhook": object{"type": "string", "format": "uri", "description": "is told of the job's events, signed (standard-webhooks)"},
		"webhook_events_filter": object{"type": "array", "items": object{"enum": events.WebhookEvents},
			"description": "which events; all of them by default"},
		"webhook_completed": object{"type": "string", "format": "uri", "description": "is told of the end only; older name"},
	}
	with := func(required []string, more object) object {
		p := object{}
		for k, v := range webhook {
			p[k] = v
		}
		for k, v := range more {
			p[k] = v
		}
		return properties(required, p)
	}
	input := object{"anyOf": []any{ref("TrainingInput"), ref("AdvancedTrainingInput"), ref("LoraInput")}, "description": "as the version's schema says"}
	train := with([]string{"input"}, object{"version": text, "model": text, "input": object{"type": "object"}, "destination": text})
	bytes := object{"type": "string", "contentMediaType": "application/octet-stream"}
	ok := func(about string, answer any) operation { return operation{about: about, status: 200, answer: answer} }
	return map[string]map[string]operation{
		"/v1/account":                 {"GET": ok("Whom the token belongs to", ref("Account"))},
		"/v1/hardware":                {"GET": ok("The kinds of machines", object{"type": "array", "items": properties([]string{"sku", "name"}, object{"sku": text, "name": text})})},
		"/v1/collections":             {"GET": ok("The collections", ref("Page"))},
		"/v1/collections/{slug}":      {"GET": ok("One collection with its models", properties(nil, object{"name": text, "slug": text, "description": text, "models": object{"type": "array", "items": ref("Model")}}))},
		"/v1/deployments":             {"GET": ok("Deployments: there are none", ref("Page"))},
		"/v1/webhooks/default/secret": {"GET": ok("The secret that signs webhooks", properties([]string{"key"}, object{"key": text}))},
		"/v1/upload/{name}":           {"POST": {about: "Ask for a place for a file; with train, the training starts by itself when the file has arrived", body: properties(nil, object{"train": train}), status: 200, answer: ref("Upload")}},
		"/v1/files":                   {"GET": ok("The files, newest first", pageOf("File")), "POST": {about: "Store a file (multipart/form-data: content, metadata, filename, type)", status: 201, answer: ref("File")}},
		"/v1/files/{id}":              {"GET": ok("A file's metadata", ref("File")), "DELETE": {about: "Delete a file", status: 204}},
		"/v1/predictions": {"GET": ok("The predictions, newest first, without their logs", pageOf("Prediction")),
			"POST": {about: "Run a version (Prefer: wait=n holds the answer up to n seconds; Cancel-After: 5m cancels by itself)", body: with([]string{"version", "input"}, object{"version": text, "input": input}), status: 201, answer: ref("Prediction")}},
		"/v1/predictions/{id}":                               {"GET": ok("A prediction or training", ref("Prediction")), "DELETE": {about: "Delete a prediction with its outputs", status: 204}},
		"/v1/predictions/{id}/cancel":                        {"POST": {about: "Cancel a prediction", status: 200, answer: ref("Prediction")}},
		"/v1/trainings":                                      {"GET": ok("The trainings, newest first, without their logs", pageOf("Prediction"))},
		"/v1/trainings/{id}":                                 {"GET": ok("A training", ref("Prediction")), "DELETE": {about: "Delete a training with its outputs, its checkpoint and the version it made", status: 204}},
		"/v1/trainings/{id}/cancel":                          {"POST": {about: "Cancel a training", status: 200, answer: ref("Prediction")}},
		"/v1/models":                                         {"GET": ok("The models", pageOf("Model")), "POST": {about: "Make a model, to be the destination of trainings", body: properties([]string{"owner", "name", "visibility", "hardware"}, object{"owner": text, "name": text, "visibility": object{"enum": []string{"public", "private"}}, "hardware": text, "description": text, "github_url": uri, "paper_url": uri, "license_url": uri, "cover_image_url": uri}), status: 201, answer: ref("Model")}},
		"/v1/models/{owner}/{model}":                         {"GET": ok("A model", ref("Model")), "DELETE": {about: "Delete a model without versions", status: 204}},
		"/v1/models/{owner}/{model}/predictions":             {"POST": {about: "Run a model's latest version", body: with([]string{"input"}, object{"input": input}), status: 201, answer: ref("Prediction")}},
		"/v1/models/{owner}/{model}/versions":                {"GET": ok("A model's versions, latest first", pageOf("Version"))},
		"/v1/models/{owner}/{model}/versions/{id}":           {"GET": ok("A version with its schema", ref("Version")), "DELETE": {about: "Delete a version of a model of your own", status: 204}},
		"/v1/models/{owner}/{model}/versions/{id}/trainings": {"POST": {about: "Train a new version of a model of your own", body: with([]string{"destination", "input"}, object{"destination": text, "input": input}), status: 201, answer: ref("Prediction")}},
		"/pbxt/{secret}/{name}":                              {"GET": ok("An output; Range, ETag and HEAD work", bytes)},
		"/serving/{token}/{name}":                            {"GET": ok("An upload; Range, ETag and HEAD work", bytes)},
		"/v1/streams/{key}":                                  {"GET": ok("Server-sent events of a prediction: output, logs, error, done", object{"type": "string", "contentMediaType": "text/event-stream"})},
		"/openapi.json":                                      {"GET": ok("This document", object{"type": "object"})},
		"/":                                                  {"GET": ok("Where to begin", object{"type": "object"})},
	}
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

// openAPI is the API's description, OpenAPI 3.1: its schemas are those that inputs are validated with and
// that the tests hold answers to.
func (s *server) openAPI(c *call) error {
	components, err := s.components()
	if err != nil {
		return err
	}
	paths := object{}
	for path, methods := range s.operations() {
		item := object{}
		var parameters []any
		for _, m := range pathParameter.FindAllStringSubmatch(path, -1) {
			parameters = append(parameters, object{"name": m[1], "in": "path", "required": true, "schema": object{"type": "string"}})
		}
		if parameters != nil {
			item["parameters"] = parameters
		}
		for method, op := range methods {
			item[strings.ToLower(method)] = describe(op, !strings.HasPrefix(path, "/v1/") || strings.HasPrefix(path, "/v1/streams/"))
		}
		if path == "/v1/models" {
			item["x-query"] = object{"summary": "Search models: the method QUERY with the text as its body", "responses": object{"200": object{"description": "the models found"}}}
		}
		paths[path] = item
	}
	return c.writeJSON(http.StatusOK, object{
		"openapi": "3.1.0",
		"info":    object{"title": "lowrank", "version": "1", "description": "LoRA fine-tuning of Stable Diffusion. The API is Replicate's: its clients work with another base URL."},
		"servers": []any{object{"url": c.links.API}},
		"paths":   paths,
		"components": object{
			"schemas":         components,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "Authorization: Bearer … or Token …"}},
		},
		"security": []any{object{"token": []any{}}},
	})
}

func describe(op operation, public bool) object {
	answer := object{"description": http.StatusText(op.status)}
	if op.answer != nil {
		mediaType := "application/json"
		if a, ok := op.answer.(object); ok && a["contentMediaType"] != nil {
			mediaType = a["contentMediaType"].(string)
		}
		answer["content"] = object{mediaType: object{"schema": op.answer}}
	}
	o := object{"summary": op.about, "responses": object{
		strconv.Itoa(op.status): answer,
		"default":               object{"description": "a problem", "content": object{"application/problem+json": object{"schema": ref("Problem")}}},
	}}
	if op.body != nil {
		o["requestBody"] = object{"content": object{"application/json": object{"schema": op.body}}}
	}
	if public {
		o["security"] = []any{}
	}
	return o
}

// components gathers the schemas of events/schemas and, from the catalogue, of the inputs.
func (s *server) components() (object, error) {
	out := object{}
	for _, name := range []string{"prediction", "version", "model", "file", "upload", "account", "problem", "page", "output_created"} {
		b, err := fs.ReadFile(schemas.Files, name+".schema.json")
		if err != nil {
			return nil, err
		}
		var v object
		if err := json.Unmarshal(b, &v); err != nil {
			return nil, err
		}
		delete(v, "$schema")
		out[v["title"].(string)] = renameRefs(v, func(r string) string {
			return "#/components/schemas/" + strings.ToUpper(r[:1]) + strings.TrimSuffix(r[1:], ".schema.json")
		})
	}
	for title, p := range map[string]events.Program{"TrainingInput": events.ProgramTraining, "AdvancedTrainingInput": events.ProgramAdvancedTraining, "LoraInput": events.ProgramLora} {
		doc := s.Catalogue.Versions(p)[0].Schema
		b, err := events.Marshal(doc)
		if err != nil {
			return nil, err
		}
		var v struct {
			Components struct{ Schemas map[string]object }
		}
		if err := json.Unmarshal(b, &v); err != nil {
			return nil, err
		}
		for name, schema := range v.Components.Schemas {
			if name == "Output" {
				continue
			}
			full := title
			if name != "Input" {
				full = title + "_" + name
			}
			if _, twice := out[full]; twice {
				return nil, fmt.Errorf("two schemas are called %s", full)
			}
			out[full] = renameRefs(schema, func(r string) string {
				return "#/components/schemas/" + title + "_" + strings.TrimPrefix(r, "#/components/schemas/")
			})
		}
	}
	return out, nil
}

// renameRefs returns v with every $ref renamed.
func renameRefs(v any, rename func(string) string) any {
	switch v := v.(type) {
	case object:
		o := object{}
		for k, x := range v {
			if r, ok := x.(string); ok && k == "$ref" {
				o[k] = rename(r)
			} else {
				o[k] = renameRefs(x, rename)
			}
		}
		return o
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = renameRefs(x, rename)
		}
		return l
	}
	return v
}
