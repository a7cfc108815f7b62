package events

import (
	"strings"
)

// A field is one input of a model, in the order in which a form shows it.
type field struct {
	name     string
	kind     string // JSON type: string, integer, number, boolean
	about    string
	format   string // "uri"
	def      any    // nil: none
	required bool
	min, max *float64
	multiple int   // > 0: must be a multiple of it
	choices  []any // an enum, shown as cog shows one: a schema of its own behind allOf
	maxLen   int   // > 0: characters
}

func bound(v float64) *float64 { return &v }

// Schema is an openapi_schema document as cog 0.6 writes one (components.schemas.Input and .Output),
// as plain JSON values: map[string]any, []any, string, float64, bool, int.
type Schema map[string]any

// InputSchema is the schema of program on a base. bases lists the names that the input "base" may
// have; with none, any name passes and the schema says nothing of them.
func InputSchema(p Program, b BaseLimits, bases []string) Schema {
	b = b.WithDefaults()
	var f []field
	output := map[string]any{"title": "Output", "type": "string", "format": "uri"}
	switch p {
	case ProgramTraining:
		f = trainingFields(b)
	case ProgramAdvancedTraining:
		f = advancedFields(b)
	default:
		f = loraFields(b)
		// No x-cog-array-type: with "iterator" replicate 0.4.0 returns a generator that loses items.
		output = map[string]any{"title": "Output", "type": "array", "items": map[string]any{"type": "string", "format": "uri"}}
	}
	base := field{name: "base", kind: "string", about: "Name of the base model. The default is the version's own.", maxLen: 200}
	if len(bases) > 0 {
		base.def = b.Name
		for _, n := range bases {
			base.choices = append(base.choices, n)
		}
	}
	return openAPISchema(append(f, base), output)
}

func openAPISchema(fields []field, output map[string]any) Schema {
	props, schemas := map[string]any{}, map[string]any{}
	input := map[string]any{"type": "object", "title": "Input", "properties": props}
	var required []any
	for i, f := range fields {
		p := map[string]any{"x-order": i}
		if f.about != "" {
			p["description"] = f.about
		}
		if f.def != nil {
			p["default"] = f.def
		}
		if f.required {
			required = append(required, f.name)
		}
		if f.choices != nil {
			schemas[f.name] = map[string]any{"title": f.name, "type": f.kind, "enum": f.choices, "description": "An enumeration."}
			p["allOf"] = []any{map[string]any{"$ref": "#/components/schemas/" + f.name}}
			props[f.name] = p
			continue
		}
		p["title"], p["type"] = title(f.name), f.kind
		if f.format != "" {
			p["format"] = f.format
		}
		if f.min != nil {
			p["minimum"] = *f.min
		}
		if f.max != nil {
			p["maximum"] = *f.max
		}
		if f.multiple > 0 {
			p["multipleOf"] = f.multiple
		}
		if f.maxLen > 0 {
			p["maxLength"] = f.maxLen
		}
		props[f.name] = p
	}
	if required != nil {
		input["required"] = required
	}
	schemas["Input"], schemas["Output"] = input, output
	return Schema{
		"openapi":    "3.0.2",
		"info":       map[string]any{"title": "Cog", "version": "0.1.0"},
		"paths":      map[string]any{},
		"components": map[string]any{"schemas": schemas},
	}
}

// title writes an input's name as pydantic titles it: lora_urls is "Lora Urls".
func title(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words {
		if w != "" {
			words[i] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, " ")
}

// Input returns components.schemas.Input.
func (s Schema) Input() map[string]any { return s.schemas()["Input"].(map[string]any) }

func (s Schema) schemas() map[string]any {
	return s["components"].(map[string]any)["schemas"].(map[string]any)
}

// Property returns the schema of one input with its enum resolved, or nil.
func (s Schema) Property(name string) map[string]any {
	p, _ := s.Input()["properties"].(map[string]any)[name].(map[string]any)
	if p == nil || p["allOf"] == nil {
		return p
	}
	out := map[string]any{}
	for k, v := range s.schemas()[name].(map[string]any) {
		out[k] = v
	}
	for k, v := range p {
		if k != "allOf" {
			out[k] = v
		}
	}
	return out
}

// WithDefault returns a copy of the schema in which one input has another default.
func (s Schema) WithDefault(name string, def any) Schema {
	c := deepCopy(map[string]any(s)).(map[string]any)
	out := Schema(c)
	if p, ok := out.Input()["properties"].(map[string]any)[name].(map[string]any); ok {
		p["default"] = def
	}
	return out
}

func deepCopy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, x := range v {
			m[k] = deepCopy(x)
		}
		return m
	case []any:
		l := make([]any, len(v))
		for i, x := range v {
			l[i] = deepCopy(x)
		}
		return l
	}
	return v
}
