package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/lowrank/lowrank/events"
)

// form is the inputs of a model, made from its schema, with the values that are to be shown.
type form struct {
	Program events.Program
	Groups  []*group
	Error   string // about the form as a whole
	fields  map[string]*field
	order   []*field // as in the schema
}

// group is inputs that are shown together. The first of a form is always open.
type group struct {
	Title, About string
	Fields       []*field
	Open         bool
}

// kind is how an input is asked for.
type kind string

const (
	kindText     kind = "text"
	kindArea     kind = "area"
	kindFile     kind = "file"
	kindChoice   kind = "choice"
	kindInteger  kind = "integer"
	kindNumber   kind = "number"
	kindBool     kind = "bool"
	kindConcepts kind = "concepts"
)

// field is one input.
type field struct {
	Name, Label, Help string
	Kind              kind
	Value             string // as it stands in the form
	Default           string
	Choices           []string
	Min, Max, Step    string
	Slider            bool // few enough values for a slider beside the number
	MaxLength         int
	Required          bool
	Accept            string // kinds of files
	Error             string
	jsonType          string
	hasDefault        bool
	min, max          *float64
}

// sliderSteps is how many values a slider may have.
const sliderSteps = 600

// newForm makes the form of a version's schema, with the defaults as values.
func newForm(p events.Program, s events.Schema) *form {
	f := &form{Program: p, fields: map[string]*field{}}
	props, _ := s.Input()["properties"].(map[string]any)
	required, _ := s.Input()["required"].([]any)
	for name := range props {
		x := newField(name, s.Property(name))
		x.Required = slices.Contains(required, any(name))
		f.fields[name] = x
		f.order = append(f.order, x)
	}
	orderOf := func(x *field) int { n, _ := s.Property(x.Name)["x-order"].(int); return n }
	slices.SortFunc(f.order, func(a, b *field) int { return orderOf(a) - orderOf(b) })
	f.arrange()
	return f
}

// arrange puts the fields into their groups (groups.go); what none names goes into the last.
func (f *form) arrange() {
	used := map[string]bool{"lora_scales": f.fields["lora_urls"] != nil} // shown with lora_urls
	for _, plan := range groupPlans[f.Program] {
		g := &group{Title: plan.title, About: plan.about}
		for _, name := range plan.fields {
			if x := f.fields[name]; x != nil && !x.idle() {
				g.Fields = append(g.Fields, x)
			}
			used[name] = true
		}
		if len(g.Fields) > 0 {
			f.Groups = append(f.Groups, g)
		}
	}
	rest := &group{Title: "More options"}
	for _, x := range f.order {
		if !used[x.Name] && !x.idle() {
			rest.Fields = append(rest.Fields, x)
		}
	}
	if len(rest.Fields) > 0 {
		f.Groups = append(f.Groups, rest)
	}
	if len(f.Groups) > 0 {
		f.Groups[0].Open = true
	}
}

// idle fields leave nothing to choose.
func (x *field) idle() bool { return x.Kind == kindChoice && len(x.Choices) == 1 && x.hasDefault }

func newField(name string, p map[string]any) *field {
	x := &field{Name: name, Label: labels[name]}
	if x.Label == "" {
		title, _ := p["title"].(string)
		x.Label = strings.ToUpper(title[:min(1, len(title))]) + strings.ToLower(title[min(1, len(title)):])
	}
	x.Help, _ = p["description"].(string)
	x.jsonType, _ = p["type"].(string)
	x.MaxLength, _ = p["maxLength"].(int)
	if d, ok := p["default"]; ok {
		x.hasDefault, x.Default = true, plainText(d)
		x.Value = x.Default
	}
	if v, ok := p["minimum"].(float64); ok {
		x.min, x.Min = &v, plainText(v)
	}
	if v, ok := p["maximum"].(float64); ok {
		x.max, x.Max = &v, plainText(v)
	}
	choices, _ := p["enum"].([]any)
	for _, c := range choices {
		x.Choices = append(x.Choices, plainText(c))
	}
	format, _ := p["format"].(string)
	switch {
	case choices != nil:
		x.Kind = kindChoice
	case name == "lora_urls":
		x.Kind = kindConcepts
	case format == "uri":
		x.Kind = kindFile
		x.Accept = "image/png,image/jpeg,image/webp"
		if name == "instance_data" {
			x.Accept = ".zip,application/zip"
		}
	case x.jsonType == "boolean":
		x.Kind = kindBool
	case x.jsonType == "integer":
		x.Kind, x.Step = kindInteger, "1"
		if m, ok := p["multipleOf"].(int); ok {
			x.Step = strconv.Itoa(m)
		}
	case x.jsonType == "number":
		x.Kind, x.Step = kindNumber, "any"
	case name == "prompt", name == "negative_prompt":
		x.Kind = kindArea
	default:
		x.Kind = kindText
	}
	x.Slider = x.slides()
	return x
}

// slides reports whether a slider helps; for numbers it has steps of a twentieth or a tenth.
func (x *field) slides() bool {
	if x.min == nil || x.max == nil {
		return false
	}
	step, err := strconv.ParseFloat(x.SliderStep(), 64)
	return err == nil && (*x.max-*x.min)/step <= sliderSteps
}

// SliderStep is the step of the slider beside the number.
func (x *field) SliderStep() string {
	switch {
	case x.Kind == kindInteger:
		return x.Step
	case x.max != nil && *x.max <= 1:
		return "0.05"
	}
	return "0.1"
}

// Segments reports whether all choices are shown side by side: few and short.
func (x *field) Segments() bool {
	return x.Kind == kindChoice && x.jsonType == "string" && len(x.Choices) <= 3 && x.hasDefault && x.Name != "base"
}

// On reports whether a switch is on.
func (x *field) On() bool { return x.Value == "true" }

// Held is the name of the upload that a file's field holds the address of, "" for any other address.
func (x *field) Held() string {
	u, err := url.Parse(x.Value)
	if err != nil || x.Kind != kindFile || !strings.Contains(u.Path, "/serving/") {
		return ""
	}
	return strings.TrimPrefix(u.Path[strings.LastIndex(u.Path, "/"):], "/")
}

// ID is the id of the field's control; ErrorID and HelpID of what is said about it.
func (x *field) ID() string      { return "in-" + x.Name }
func (x *field) ErrorID() string { return "err-" + x.Name }
func (x *field) HelpID() string  { return "help-" + x.Name }

// Chosen are the addresses of the concepts: concepts.js makes a row of each.
func (f *form) Chosen() []string {
	if x := f.fields["lora_urls"]; x != nil {
		return events.SplitList(x.Value)
	}
	return nil
}

// Scales is the field that goes with the concepts.
func (f *form) Scales() *field { return f.fields["lora_scales"] }

// fill shows the values of an input, as stored with a job.
func (f *form) fill(input map[string]any) {
	for name, v := range input {
		if x := f.fields[name]; x != nil && v != nil {
			x.Value = plainText(v)
		}
	}
}

// mark shows errors beside their fields, and opens the groups that have some.
func (f *form) mark(bad invalidForm) {
	f.Error = bad[""]
	for name, text := range bad {
		if x := f.fields[name]; x != nil {
			x.Error = text
		}
	}
	for _, g := range f.Groups {
		g.Open = g.Open || slices.ContainsFunc(g.Fields, func(x *field) bool { return x.Error != "" })
	}
}

// Set reports whether the form's value differs from the default; such groups are open when settings are
// used again.
func (x *field) Set() bool { return x.Value != x.Default }

// openSet opens the groups in which something was chosen.
func (f *form) openSet() {
	for _, g := range f.Groups {
		g.Open = g.Open || slices.ContainsFunc(g.Fields, (*field).Set)
	}
}

// plainText writes a JSON value as it stands in a form. Numbers keep their digits.
func plainText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case int:
		return strconv.Itoa(v)
	case float64:
		if a := math.Abs(v); a != 0 && a < 1e-3 {
			s := strconv.FormatFloat(v, 'e', -1, 64)
			return strings.Replace(s, "e-0", "e-", 1)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	b, err := events.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// Field finds a field, nil when there is none.
func (f *form) Field(name string) *field { return f.fields[name] }

// Type is the input's JSON type, for people.
func (x *field) Type() string {
	switch {
	case x.Kind == kindChoice:
		return "one of " + strings.Join(x.Choices, ", ")
	case x.Kind == kindFile:
		return "address"
	}
	return x.jsonType
}

// Limits says which numbers are taken: " from 1 to 4".
func (x *field) Limits() string { return x.limits() }
