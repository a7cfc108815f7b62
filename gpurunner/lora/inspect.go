package lora

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
)

// Report says what is in an adapter file.
type Report struct {
	File    string
	Format  Format // empty where it is none
	Era     string
	Base    string // the base that it fits, guessed by its shapes; empty for none
	DType   string
	Parts   []PartReport
	Tokens  []TokenReport
	Scale   string // what the file says of scales
	Unused  []string
	Meta    map[string]string
	Problem string // why it cannot be used; the rest is then what its keys tell
	Keys    int
}

// PartReport is a part's adapters.
type PartReport struct {
	Part    Part
	Modules int
	Targets string // "attention, GEGLU"
	Ranks   string // "4", "4 to 16"
	Params  int
	// Norm is the Frobenius norm of all that is added to the part's weights at
	// scale 1; NaN where it was too much to compute.
	Norm float64
}

// TokenReport is a token's embeddings.
type TokenReport struct {
	Name    string
	Vectors int
	Norms   []float64 // of each vector, the first encoder's
}

// maxNormWork bounds what Inspect multiplies for norms: some seconds.
const maxNormWork = 4e9

// Inspect reads a file of any layout and says what it is. The base is guessed
// among bases and those of Known, by the file's shapes. A file that fits none
// still gives a report, with a Problem; the error is for files that are not
// safetensors at all.
func Inspect(path string, bases ...*Base) (*Report, error) {
	report := &Report{File: path}
	set, err := openFile(path, func(s *source) (*Set, error) {
		report.Keys, report.Meta = len(s.keys), s.meta
		report.Format, report.Era = detect(s.keys)
		if kind, _ := s.foreign(); kind != "" || s.unknown() {
			report.Format, report.Era = "", kind
		}
		return readAny(s, bases)
	})
	var format *safetensors.FormatError
	switch {
	case err != nil && (report.Keys == 0 || errors.As(err, &format)):
		return nil, err
	case err != nil:
		report.Problem = err.Error()
		return report, nil
	}
	report.Format, report.Era, report.Base, report.DType = set.Format, set.Era, set.Base.Name, set.DType
	report.Unused, report.Scale = set.Unused, scaleText(set.Adapters)
	for _, p := range parts {
		if set.HasPart(p) {
			report.Parts = append(report.Parts, partReport(set, p))
		}
	}
	for _, t := range set.Tokens {
		r := TokenReport{Name: t.Name, Vectors: len(t.Rows[0])}
		for _, row := range t.Rows[0] {
			r.Norms = append(r.Norms, norm(row))
		}
		report.Tokens = append(report.Tokens, r)
	}
	return report, nil
}

func partReport(set *Set, p Part) PartReport {
	r := PartReport{Part: p}
	var kinds []string
	low, high, work, sum := math.MaxInt, 0, 0.0, 0.0
	for i := range set.Adapters {
		a := &set.Adapters[i]
		if a.Module.Part != p {
			continue
		}
		r.Modules++
		r.Params += len(a.Up) + len(a.Down)
		low, high = min(low, a.Rank), max(high, a.Rank)
		work += float64(a.Rank) / 2 * float64(len(a.Up)+len(a.Down))
		if work <= maxNormWork {
			n := a.Norm()
			sum += n * n
		}
		if kind := a.Module.kind(); !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
	}
	slices.Sort(kinds)
	r.Targets = strings.Join(kinds, ", ")
	r.Ranks = fmt.Sprint(low)
	if low != high {
		r.Ranks = fmt.Sprintf("%d to %d", low, high)
	}
	r.Norm = math.Sqrt(sum)
	if work > maxNormWork {
		r.Norm = math.NaN()
	}
	return r
}

// kind is what a layer is, in a word or two.
func (m *Module) kind() string {
	switch {
	case m.Class == "CrossAttention" || m.Class == "CLIPAttention":
		return "attention"
	case m.Class == "GEGLU":
		return "GEGLU"
	case m.Class == "ResnetBlock2D":
		return "residual blocks"
	case strings.HasSuffix(m.Path, ".ff.net.2") || strings.Contains(m.Path, ".mlp."):
		return "feed-forward"
	case strings.HasSuffix(m.Path, ".proj_in") || strings.HasSuffix(m.Path, ".proj_out") || m.Path == "text_projection":
		return "projections"
	case strings.Contains(m.Path, "samplers."):
		return "resampling"
	case strings.Contains(m.Path, "_embedding."):
		return "time embedding"
	}
	return "first and last convolution"
}

func scaleText(adapters []Adapter) string {
	if len(adapters) == 0 {
		return ""
	}
	low, high := adapters[0].Scale, adapters[0].Scale
	for _, a := range adapters {
		low, high = min(low, a.Scale), max(high, a.Scale)
	}
	if low == high {
		return fmt.Sprintf("%g", low)
	}
	return fmt.Sprintf("%g to %g", low, high)
}

func norm(v []float32) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x) * float64(x)
	}
	return math.Sqrt(sum)
}

// printable keeps a file's text from steering a terminal or the table.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, s)
}

func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// Write prints the report for people.
func (r *Report) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, printable(fmt.Sprintf(format, args...)))
	}
	line("file", "%s", r.File)
	if r.Format == "" {
		line("format", "none: %s", cmp.Or(r.Era, "no key is of a concept"))
	} else {
		line("format", "%s", strings.TrimSuffix(fmt.Sprintf("%s (%s)", r.Format, r.Era), " ()"))
	}
	if r.Problem != "" {
		line("keys", "%d", r.Keys)
		line("problem", "%s", r.Problem)
		return t.Flush()
	}
	line("base", "%s", r.Base)
	for _, p := range r.Parts {
		norm := "not computed"
		if !math.IsNaN(p.Norm) {
			norm = fmt.Sprintf("%.4g", p.Norm)
		}
		line(string(p.Part), "%s (%s), rank %s, %d parameters, norm %s", counted(p.Modules, "layer"), p.Targets, p.Ranks, p.Params, norm)
	}
	if r.Scale != "" {
		line("scale", "%s", r.Scale)
		line("stored as", "%s", r.DType)
	}
	for _, k := range r.Tokens {
		var norms []string
		for _, n := range k.Norms {
			norms = append(norms, fmt.Sprintf("%.3g", n))
		}
		line("token", "%s: %s of norm %s", k.Name, counted(k.Vectors, "vector"), strings.Join(norms, " "))
	}
	for _, k := range r.Unused {
		line("not used", "%s", shorten(k))
	}
	for _, k := range sorted(r.Meta) {
		if !numberedRank.MatchString(k) {
			line("metadata", "%s = %s", shorten(k), shorten(r.Meta[k]))
		}
	}
	return t.Flush()
}
