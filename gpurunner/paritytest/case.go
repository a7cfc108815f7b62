package paritytest

import (
	"encoding/json"
	"errors"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// Case is one set of inputs with its expected outputs: a .safetensors file, or the tensors of one whose names
// begin with Prefix.
type Case struct {
	Root  Root
	Class string
	// Base is the file's name without its ending, or, for the class train, its folder's: "sd15-tiny.b1", "face".
	Base string
	// Prefix begins the names of this case's tensors in a file that holds several cases, without the dot: "linear".
	Prefix string
	// Meta is what the .json beside the file says of this case, in encoding/json's types.
	Meta map[string]any

	kind     class
	file     *file
	names    []string            // this case's tensors, without the prefix
	numbers  map[string][]string // expected numbers of Meta: path joined by dots → path
	compared map[string]bool
	largest  float64 // gradient; 0 until asked for
}

// Name is the name of the case's subtest.
func (c *Case) Name() string {
	if c.Prefix == "" {
		return c.Base
	}
	return c.Base + "/" + c.Prefix
}

// Path is the .safetensors file.
func (c *Case) Path() string { return c.file.path }

// Each runs test over every case of the class in every root, as subtests named root/base[/prefix]. It fails
// where a root has no case, and where a case returns without having compared each of its outputs.
func Each(t *testing.T, name string, test func(t *testing.T, c *Case)) {
	t.Helper()
	for _, root := range Roots(t) {
		t.Run(root.Name, func(t *testing.T) {
			for _, c := range root.Cases(t, name) {
				t.Run(c.Name(), func(t *testing.T) {
					test(t, c)
					c.Done(t)
				})
			}
		})
	}
}

// Cases lists the cases of a class, in order of file and name. Whoever calls this instead of Each calls Done on
// every case.
func (r Root) Cases(t testing.TB, name string) []*Case {
	t.Helper()
	kind, ok := classes[name]
	if !ok {
		t.Fatalf("paritytest: no class %q; there are %s", name, strings.Join(keys(classes), ", "))
	}
	found, err := filepath.Glob(r.Path(kind.glob))
	if err != nil {
		t.Fatal(err)
	}
	var cases []*Case
	for _, p := range found {
		base := strings.TrimSuffix(filepath.Base(p), ".safetensors")
		if base == "record" {
			base = filepath.Base(filepath.Dir(p))
		}
		if kind.skip != nil && kind.skip(base) {
			continue
		}
		f, err := readFile(p)
		if err != nil {
			t.Fatal(err)
		}
		cases = append(cases, cut(t, r, name, base, f)...)
	}
	if len(cases) == 0 {
		t.Fatalf("paritytest: the set %q at %s holds no case of the class %q (%s)", r.Name, r.Dir, name, kind.glob)
	}
	return cases
}

// cut makes the cases of one file, and sees to it that every tensor belongs to one of them.
func cut(t testing.TB, r Root, name, base string, f *file) []*Case {
	t.Helper()
	kind := classes[name]
	meta, err := readMeta(strings.TrimSuffix(f.path, ".safetensors") + ".json")
	if err != nil {
		t.Fatal(err)
	}
	prefixes := []string{""}
	if kind.prefixes != nil {
		prefixes = kind.prefixes(f, meta)
	}
	var cases []*Case
	owned := map[string]bool{}
	for _, prefix := range prefixes {
		c := &Case{Root: r, Class: name, Base: base, Prefix: prefix, Meta: meta, kind: kind, file: f,
			numbers: map[string][]string{}, compared: map[string]bool{}}
		if kind.meta != nil {
			c.Meta = kind.meta(meta, prefix)
		}
		for _, full := range f.names {
			if own, ok := c.own(full); ok {
				owned[full] = true
				c.names = append(c.names, own)
			}
		}
		if kind.numbers != nil {
			c.collect(nil, c.Meta)
		}
		if len(c.names) == 0 {
			t.Errorf("paritytest: %s holds no tensor of its case %q", f.path, prefix)
		}
		cases = append(cases, c)
	}
	for _, full := range f.names {
		if !owned[full] && (kind.shared == nil || !kind.shared(full)) {
			t.Errorf("paritytest: %s: no case takes the tensor %s", f.path, full)
		}
	}
	return cases
}

func readMeta(p string) (map[string]any, error) {
	data, err := os.ReadFile(p)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // unet and vae have none
	}
	if err != nil {
		return nil, err
	}
	var meta map[string]any
	return meta, json.Unmarshal(data, &meta)
}

// own gives a tensor's name without the case's prefix. A tensor that is called like the prefix is "".
func (c *Case) own(full string) (string, bool) {
	if c.Prefix == "" {
		return full, true
	}
	if full == c.Prefix {
		return "", true
	}
	return strings.CutPrefix(full, c.Prefix+".")
}

// collect finds the expected numbers below a path of Meta.
func (c *Case) collect(at []string, v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			c.collect(append(at[:len(at):len(at)], k), below)
		}
	case []any:
		if numbersOf(v) == nil {
			for i, below := range v {
				c.collect(append(at[:len(at):len(at)], strconv.Itoa(i)), below)
			}
		} else if c.kind.numbers(at) {
			c.numbers[strings.Join(at, ".")] = at
		}
	case float64:
		if c.kind.numbers(at) {
			c.numbers[strings.Join(at, ".")] = at
		}
	}
}

// Names lists the case's tensors that begin with a prefix ("" for all), sorted.
func (c *Case) Names(prefix string) []string {
	var names []string
	for _, n := range c.names {
		if strings.HasPrefix(n, prefix) {
			names = append(names, n)
		}
	}
	return names
}

// Has reports whether the case holds a tensor.
func (c *Case) Has(name string) bool {
	return c.file.has(c.full(name))
}

func (c *Case) full(name string) string {
	if c.Prefix == "" {
		return name
	}
	if name == "" {
		return c.Prefix
	}
	return c.Prefix + "." + name
}

// Tensor returns a tensor of the case; a missing one fails the test.
func (c *Case) Tensor(t testing.TB, name string) Tensor {
	t.Helper()
	return c.FileTensor(t, c.full(name))
}

// FileTensor returns a tensor of the case's file by its full name: one that several cases share.
func (c *Case) FileTensor(t testing.TB, name string) Tensor {
	t.Helper()
	x, err := c.file.tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Sibling is another case of the same class and root, such as the one whose inputs a grad case uses
// (Meta["inputs"]). It is for reading: what it compares does not count.
func (c *Case) Sibling(t testing.TB, base string) *Case {
	t.Helper()
	base = strings.TrimSuffix(base, ".safetensors")
	f, err := readFile(filepath.Join(filepath.Dir(c.file.path), base+".safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	return cut(t, c.Root, c.Class, base, f)[0]
}

// Model is the name of the folder below models/ that the case was made with: a part of the file's name between dots.
// It is "" where there is none.
func (c *Case) Model() string {
	for _, part := range strings.Split(c.Base, ".") {
		if c.Root.Has(path.Join("models", part)) {
			return part
		}
	}
	return ""
}

// ModelDir is the path of the model's folder; a case without one fails the test.
func (c *Case) ModelDir(t testing.TB) string {
	t.Helper()
	if c.Model() == "" {
		t.Fatalf("paritytest: %s: no folder below models/ is named by a part of %q", c.Root.Dir, c.Base)
	}
	return c.Root.Path("models/" + c.Model())
}

// Text is a string of Meta, "" where it is missing.
func (c *Case) Text(key string) string { s, _ := c.Meta[key].(string); return s }

// Done fails the test for every output that was not compared, unless it failed already, and counts the case.
func (c *Case) Done(t testing.TB) {
	t.Helper()
	if t.Skipped() || t.Failed() {
		return
	}
	var missed []string
	for _, n := range c.names {
		if !c.kind.input(n) && !c.compared[n] {
			missed = append(missed, n)
		}
	}
	for n := range c.numbers {
		if !c.compared["json:"+n] {
			missed = append(missed, "json:"+n)
		}
	}
	sort.Strings(missed)
	if len(missed) > 0 {
		more := ""
		if len(missed) > 12 {
			more = " and " + strconv.Itoa(len(missed)-12) + " more"
			missed = missed[:12]
		}
		t.Errorf("%s: stored but not compared: %s%s", c.file.path, strings.Join(missed, ", "), more)
	}
	counts.add(c.Root.Name, c.Class, len(c.compared))
	t.Logf("compared %d outputs", len(c.compared))
}

func keys[V any](m map[string]V) []string {
	var ks []string
	for k := range m {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	return ks
}

// object walks down nested JSON objects; nil where there is none.
func object(m map[string]any, path ...string) map[string]any {
	for _, k := range path {
		m, _ = m[k].(map[string]any)
	}
	return m
}
