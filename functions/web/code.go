package web

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"sync"
	texttemplate "text/template"

	"github.com/lowrank/lowrank/events"
)

//go:embed code
var codeFiles embed.FS

// snippet is ready code in one language.
type snippet struct {
	ID, Language string
	Text         string
	HTML         template.HTML // the same, with its strings and comments marked
}

// codeData is what the templates of code/ get.
type codeData struct {
	API    string // the server's address
	Model  string // owner/name
	Input  string // literal in the language
	Trains bool
	Upload bool // the zip is still to be uploaded
}

var codeTemplates = sync.OnceValue(func() *texttemplate.Template {
	return texttemplate.Must(texttemplate.ParseFS(codeFiles, "code/*.tmpl"))
})

// languages are the snippets, in the order of their tabs.
var languages = []struct {
	id, name, file string
	literal        func(any, string) string
	indent         string
	comment        string
}{
	{"curl", "curl", "curl.sh.tmpl", jsonLiteral, "", "#"},
	{"python", "Python", "python.py.tmpl", pythonLiteral, "    ", "#"},
	{"node", "Node", "node.mjs.tmpl", jsonLiteral, "  ", "//"},
	{"go", "Go", "go.go.tmpl", goLiteral, "", "//"},
}

// snippets writes code that runs the model with an input.
func (v *visit) snippets(t *target, input map[string]any) ([]snippet, error) {
	var out []snippet
	data := codeData{API: v.site.base(v.Request), Model: t.Ref(), Trains: t.Program.Trains()}
	data.Upload = data.Trains && input["instance_data"] == nil
	if !t.Own && t.Version.Base.Name != v.Catalogue.Bases()[0].Name {
		input["base"] = t.Version.Base.Name
	}
	if _, there := input["prompt"]; !there && t.Draws() {
		input["prompt"] = t.Schema.Property("prompt")["default"]
	}
	for _, l := range languages {
		in := input
		if data.Upload && (l.id == "python" || l.id == "node") {
			in = without(input)
			in["instance_data"] = openZip[l.id]
		}
		data.Input = l.literal(in, l.indent)
		var b bytes.Buffer
		if err := codeTemplates().ExecuteTemplate(&b, l.file, data); err != nil {
			return nil, err
		}
		text := strings.TrimSpace(b.String()) + "\n"
		out = append(out, snippet{ID: l.id, Language: l.name, Text: text, HTML: highlight(text, l.comment)})
	}
	return out, nil
}

// raw is code that stands in a literal as it is.
type raw string

var openZip = map[string]raw{"python": `open("pictures.zip", "rb")`, "node": `await readFile("pictures.zip")`}

// keysOf sorts an input's names: those that matter first.
func keysOf(m map[string]any) []string {
	rank := func(k string) int {
		if i := slices.Index([]string{"instance_data", "task", "prompt", "negative_prompt", "lora_urls", "lora_scales"}, k); i >= 0 {
			return i
		}
		return 100
	}
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b string) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	return keys
}

// literal writes an object over several lines, with words for true, false and null.
func literal(v any, indent string, words [3]string) string {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return "{}"
		}
		var b strings.Builder
		b.WriteString("{\n")
		keys := keysOf(v)
		for i, k := range keys {
			comma := ","
			if i == len(keys)-1 {
				comma = ""
			}
			fmt.Fprintf(&b, "%s  %s: %s%s\n", indent, quoted(k), literal(v[k], indent+"  ", words), comma)
		}
		return b.String() + indent + "}"
	case raw:
		return string(v)
	case bool:
		if v {
			return words[0]
		}
		return words[1]
	case nil:
		return words[2]
	case string:
		return quoted(v)
	case json.Number:
		return v.String()
	}
	return plainText(v)
}

// quoted is a string as JSON has it, which JavaScript and Python read alike.
func quoted(s string) string {
	b, err := events.Marshal(s)
	if err != nil {
		return `""` // strings always marshal
	}
	return strings.ReplaceAll(string(b), "\u007f", `\u007f`)
}

func jsonLiteral(v any, indent string) string {
	return literal(v, indent, [3]string{"true", "false", "null"})
}

func pythonLiteral(v any, indent string) string {
	return literal(v, indent, [3]string{"True", "False", "None"})
}

// goLiteral is the JSON as a Go string: between backquotes where it holds none.
func goLiteral(v any, indent string) string {
	s := jsonLiteral(v, indent)
	if strconv.CanBackquote(strings.ReplaceAll(s, "\n", "")) {
		return "`" + s + "`"
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		return strconv.Quote(s)
	}
	return strconv.Quote(b.String())
}

// highlight marks strings and comments; the text is escaped.
func highlight(text, comment string) template.HTML {
	var b strings.Builder
	mark := func(class, s string) {
		b.WriteString(`<span class="` + class + `">` + template.HTMLEscapeString(s) + `</span>`)
	}
	for text != "" {
		switch c := text[0]; {
		case strings.HasPrefix(text, comment) && startsComment(b.String()):
			line, _, _ := strings.Cut(text, "\n")
			mark("c", line)
			text = text[len(line):]
		case c == '"' || c == '`':
			n := stringEnd(text)
			mark("s", text[:n])
			text = text[n:]
		default:
			n := strings.IndexAny(text[1:], "\"`#/\n") + 1
			if n == 0 {
				n = len(text)
			}
			b.WriteString(template.HTMLEscapeString(text[:n]))
			text = text[n:]
		}
	}
	return template.HTML(b.String()) //nolint:gosec // every piece was escaped
}

// startsComment reports whether what was written so far ends a line or leaves a space: else # and // are part
// of something.
func startsComment(before string) bool {
	return before == "" || strings.HasSuffix(before, "\n") || strings.HasSuffix(before, "  ")
}

// stringEnd is the length of the string literal that text begins with.
func stringEnd(text string) int {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote != '`':
			i++
		case text[i] == quote:
			return i + 1
		}
	}
	return len(text)
}
