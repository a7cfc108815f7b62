package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// InvalidInput says what is wrong with a request's input, in the words of the API's 422.
type InvalidInput struct{ Fields []InvalidField }

// Error is the detail of the 422: one line each.
func (e *InvalidInput) Error() string {
	var b strings.Builder
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "- %s: %s\n", f.Field, f.Description)
	}
	return b.String()
}

// Invalid makes an InvalidInput of one field.
func Invalid(kind, field, description string) *InvalidInput {
	return &InvalidInput{[]InvalidField{{kind, field, description}}}
}

// inputValidator holds a compiled Input schema.
type inputValidator struct {
	schema   Schema
	compiled *jsonschema.Schema
}

func newInputValidator(s Schema) (*inputValidator, error) {
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	c.RegisterFormat(&jsonschema.Format{Name: "uri", Validate: checkURI})
	// Marshalled and read again, so that the compiler sees what clients see.
	b, err := Marshal(s)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(b)))
	if err != nil {
		return nil, err
	}
	if err := c.AddResource("lowrank:openapi", doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile("lowrank:openapi#/components/schemas/Input")
	if err != nil {
		return nil, err
	}
	return &inputValidator{schema: s, compiled: compiled}, nil
}

// checkURI takes what a job can be given: http, https and data.
func checkURI(v any) error {
	s, ok := v.(string)
	if !ok {
		return nil // type's matter
	}
	if !ValidURL(s) {
		return errors.New("not an http, https or data URL")
	}
	return nil
}

// ValidURL reports whether s is an http(s) URL with a host, or a well-formed data: URL.
func ValidURL(s string) bool {
	if rest, ok := cutScheme(s, "data:"); ok {
		head, _, ok := strings.Cut(rest, ",")
		return ok && len(head) < 300
	}
	if len(s) > 8000 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f }) {
		return false
	}
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}

func cutScheme(s, scheme string) (string, bool) {
	if len(s) < len(scheme) || !strings.EqualFold(s[:len(scheme)], scheme) {
		return "", false
	}
	return s[len(scheme):], true
}

// ParseDataURL reads a data: URL (RFC 2397): its media type and its bytes. ok is false when it is none, or
// when its base64 is broken.
func ParseDataURL(s string) (mediaType string, data []byte, ok bool) {
	rest, ok := cutScheme(s, "data:")
	if !ok {
		return "", nil, false
	}
	head, body, ok := strings.Cut(rest, ",")
	if !ok || len(head) >= 300 {
		return "", nil, false
	}
	mediaType, isBase64 := head, false
	if m, ok := strings.CutSuffix(head, ";base64"); ok {
		mediaType, isBase64 = m, true
	}
	if strings.Contains(body, "%") {
		u, err := url.PathUnescape(body)
		if err != nil {
			return "", nil, false
		}
		body = u
	}
	if !isBase64 {
		return mediaType, []byte(body), true
	}
	body = strings.TrimRight(body, "=")
	for _, enc := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		if b, err := enc.DecodeString(body); err == nil {
			return mediaType, b, true
		}
	}
	return "", nil, false
}

// Validate checks a request's input against the version's schema, the one that is shown, and against
// what no schema can say (pixels, lists that belong together). It returns the known inputs as they were
// given, without defaults: unknown ones are accepted and dropped, because one client's bug sends its
// token as an input. An error is an *InvalidInput; it repeats no value.
//
// An input "base" that names another base validates against that base's version, which is returned.
func (c *Catalogue) Validate(v CatalogueVersion, input map[string]any) (map[string]any, CatalogueVersion, error) {
	if name, ok := input["base"].(string); ok && name != v.Base.Name {
		if other, ok := c.On(v.Program, name); ok {
			v = other
		}
	}
	fields := v.inputs.check(input)
	if len(fields) == 0 {
		fields = crossCheck(v, input)
	}
	if len(fields) > 0 {
		return nil, v, &InvalidInput{fields}
	}
	known := map[string]any{}
	for name := range v.Schema.Input()["properties"].(map[string]any) {
		if x, ok := input[name]; ok {
			known[name] = x
		}
	}
	return known, v, nil
}

// check validates against the schema. It returns one problem a field, ordered by field.
func (v *inputValidator) check(input map[string]any) []InvalidField {
	var ve *jsonschema.ValidationError
	err := v.compiled.Validate(any(input))
	if err == nil {
		return v.integers(input)
	}
	if !errors.As(err, &ve) {
		return []InvalidField{{"invalid", "input", "The input could not be checked"}}
	}
	found := map[string]InvalidField{}
	var walk func(*jsonschema.ValidationError)
	walk = func(e *jsonschema.ValidationError) {
		for _, c := range e.Causes {
			walk(c)
		}
		for _, f := range v.describe(e) {
			key := f.Field
			if f.Type == "required" {
				key += " " + f.Description
			}
			if old, ok := found[key]; !ok || f.Type == "invalid_type" && old.Type != "invalid_type" {
				found[key] = f
			}
		}
	}
	walk(ve)
	out := make([]InvalidField, 0, len(found))
	for _, f := range found {
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b InvalidField) int {
		return strings.Compare(a.Field+" "+a.Description, b.Field+" "+b.Description)
	})
	return out
}

// describe turns one error of the validator into gojsonschema's words.
func (v *inputValidator) describe(e *jsonschema.ValidationError) []InvalidField {
	field, name := "input", "input"
	if len(e.InstanceLocation) > 0 {
		name = e.InstanceLocation[0]
		field += "." + strings.Join(e.InstanceLocation, ".")
	}
	one := func(kind, format string, args ...any) []InvalidField {
		return []InvalidField{{kind, field, fmt.Sprintf(format, args...)}}
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		var out []InvalidField
		for _, m := range k.Missing {
			out = append(out, InvalidField{"required", field, m + " is required"})
		}
		return out
	case *kind.Type:
		return one("invalid_type", "Invalid type. Expected: %s, given: %s", strings.Join(k.Want, "/"), k.Got)
	case *kind.Enum:
		var choices []string
		for _, w := range k.Want {
			b, err := Marshal(w)
			if err == nil {
				choices = append(choices, string(b))
			}
		}
		return one("enum", "%s must be one of the following: %s", name, strings.Join(choices, ", "))
	case *kind.Minimum:
		return one("number_gte", "Must be greater than or equal to %s", decimal(k.Want))
	case *kind.Maximum:
		return one("number_lte", "Must be less than or equal to %s", decimal(k.Want))
	case *kind.MultipleOf:
		return one("multiple_of", "Must be a multiple of %s", decimal(k.Want))
	case *kind.MaxLength:
		return one("string_lte", "String length must be less than or equal to %d", k.Want)
	case *kind.Format:
		return one("format", "Does not match format '%s'", k.Want)
	case *kind.Schema, *kind.Group, *kind.AllOf, *kind.Reference:
		return nil // their causes say it
	}
	return one("invalid", "%s is not valid", name)
}

func decimal(r *big.Rat) string {
	if r.IsInt() {
		return r.Num().String()
	}
	f, _ := r.Float64()
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// integers holds integer inputs to 64 bits, seeds among them.
func (v *inputValidator) integers(input map[string]any) []InvalidField {
	var out []InvalidField
	for name, x := range input {
		p := v.schema.Property(name)
		if p == nil || p["type"] != "integer" {
			continue
		}
		if n, ok := x.(json.Number); ok {
			if _, ok := Integer(n); !ok {
				out = append(out, InvalidField{"number_lte", "input." + name, "Must be between -9223372036854775808 and 9223372036854775807"})
			}
		}
	}
	slices.SortFunc(out, func(a, b InvalidField) int { return strings.Compare(a.Field, b.Field) })
	return out
}

// Integer reads a JSON number that is whole, in any spelling: 512, 512.0, 5.12e2.
func Integer(n json.Number) (int64, bool) {
	if i, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		return i, true
	}
	r, ok := new(big.Rat).SetString(string(n))
	if !ok || !r.IsInt() || !r.Num().IsInt64() {
		return 0, false
	}
	return r.Num().Int64(), true
}

// ValidWebhookURL reports whether s can be told of events: http or https with a host, at most 2,000 bytes.
func ValidWebhookURL(s string) bool {
	if _, isData := cutScheme(s, "data:"); isData || len(s) > 2000 {
		return false
	}
	return ValidURL(s)
}
