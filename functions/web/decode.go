package web

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"

	"github.com/lowrank/lowrank/events"
)

// decode reads what a browser posted into an input of the API's types, and keeps the texts in the form. What
// is as the default is left out. A text that is no value of its type is a complaint; the API judges the rest.
func (f *form) decode(values url.Values) (map[string]any, invalidForm) {
	input, bad := map[string]any{}, invalidForm{}
	for _, x := range f.order {
		if x.idle() {
			continue
		}
		given, there := values[x.Name]
		if !there && x.Kind != kindBool {
			continue
		}
		if x.Kind == kindBool {
			x.Value = strconv.FormatBool(len(given) > 0 && given[0] == "true")
		} else {
			x.Value = strings.ReplaceAll(given[0], "\r\n", "\n")
			if x.Kind != kindArea {
				x.Value = strings.TrimSpace(x.Value)
			}
		}
		if x.Value == x.Default && x.hasDefault {
			continue
		}
		v, err := x.parse()
		switch {
		case err != nil:
			bad[x.Name] = err.Error()
		case v != nil:
			input[x.Name] = v
		}
	}
	if len(bad) == 0 {
		bad = nil
	}
	return input, bad
}

// parse is the value of the field's text; nil leaves the input out.
func (x *field) parse() (any, error) {
	switch {
	case x.Kind == kindBool:
		return x.On(), nil
	case x.jsonType == "string":
		if x.Value == "" && (x.Default == "" || x.Kind == kindChoice || x.Kind == kindFile) {
			return nil, nil
		}
		return x.Value, nil
	case x.Value == "":
		return nil, nil
	case x.jsonType == "integer":
		n, err := strconv.ParseInt(x.Value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("Use a whole number%s.", x.limits()) //nolint:staticcheck // shown
		}
		return json.Number(strconv.FormatInt(n, 10)), nil
	}
	n, err := strconv.ParseFloat(strings.Replace(x.Value, ",", ".", 1), 64)
	if err != nil || math.IsInf(n, 0) || math.IsNaN(n) {
		return nil, fmt.Errorf("Use a number%s.", x.limits()) //nolint:staticcheck // shown
	}
	return json.Number(strconv.FormatFloat(n, 'g', -1, 64)), nil
}

// limits says which numbers are taken: " from 1 to 4".
func (x *field) limits() string {
	switch {
	case x.min != nil && x.max != nil:
		return " from " + x.Min + " to " + x.Max
	case x.min != nil:
		return ", " + x.Min + " or more"
	case x.max != nil:
		return ", at most " + x.Max
	}
	return ""
}

// complaint says what is wrong with a field, and what to do, in one sentence.
func (x *field) complaint(f events.InvalidField) string {
	number := "number"
	if x.Kind == kindInteger {
		number = "whole number"
	}
	switch f.Type {
	case "required":
		if x.Name == "instance_data" {
			return "Choose a zip of pictures first."
		}
		return "This is needed."
	case "number_gte", "number_lte", "invalid_type":
		if x.Kind == kindInteger || x.Kind == kindNumber {
			return "Use a " + number + x.limits() + "."
		}
	case "multiple_of":
		return "Use a multiple of " + x.Step + x.limits() + "."
	case "enum":
		return "Choose one of the list."
	case "string_lte":
		if x.MaxLength > 0 {
			return fmt.Sprintf("Use at most %d characters.", x.MaxLength)
		}
	case "format":
		if x.Kind == kindFile {
			return "Choose a file, or give an address that begins with https:// or http://."
		}
	}
	return sentence(f.Description)
}
