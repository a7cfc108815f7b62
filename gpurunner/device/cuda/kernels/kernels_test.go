package kernels

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

// Driver 530 reads PTX up to 8.1; newer PTX would be refused at load.
func TestVersion(t *testing.T) {
	modules := Modules()
	if len(modules) == 0 {
		t.Fatal("no modules are embedded")
	}
	for _, m := range modules {
		v, err := Version(m.PTX)
		if err != nil || v > 81 {
			t.Errorf("%s for %d: PTX version %d (%v), want at most 81", m.Family, m.Arch, v, err)
		}
		if m.Arch < 75 || !strings.Contains(m.PTX, ".target sm_") {
			t.Errorf("%s for %d: not a module for compute capability 7.5 or later", m.Family, m.Arch)
		}
	}
}

func TestSignatures(t *testing.T) {
	const good = "\n.version 8.1\n.visible .entry a_1(\n\t.param .u64 p0,\n\t.param .f32 p1,\n\t.param .u32 p2\n)\n.maxntid 128, 1, 1\n{ }" +
		"\n.visible .entry b()\n{ }"
	got, err := Signatures(good)
	if err != nil {
		t.Fatal(err)
	}
	a := got["a_1"]
	if len(a.Params) != 3 || a.Params[0] != (Param{Size: 8}) || a.Params[1] != (Param{Size: 4, Float: true}) || a.Threads != 128 {
		t.Errorf("a_1: %+v", a)
	}
	if b := got["b"]; len(b.Params) != 0 || b.Threads != 1024 {
		t.Errorf("b: %+v", b)
	}
	for name, text := range map[string]string{
		"ErrEmpty":  "",
		"ErrStruct": ".visible .entry a(.param .align 4 .b8 p[12]) {",
		"ErrCut":    ".visible .entry a(.param .u64 p",
		"ErrBlock":  ".visible .entry a()\n.maxntid x, 1, 1\n{",
	} {
		if _, err := Signatures(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzSignatures(f *testing.F) {
	f.Add(".visible .entry a(.param .u64 p)\n.maxntid 1, 1, 1\n{")
	f.Add(".visible .entry a(")
	f.Fuzz(func(t *testing.T, s string) {
		if entries, err := Signatures(s); err == nil && len(entries) == 0 {
			t.Error("neither entries nor an error")
		}
		_, _ = Version(s)
	})
}

func TestMachine(t *testing.T) {
	files := fstest.MapFS{}
	for _, arch := range []string{"75", "80", "86", "90"} {
		files["cubin/norms_"+arch+".cubin"] = &fstest.MapFile{Data: []byte(arch)}
	}
	for capability, want := range map[int]string{75: "75", 80: "80", 86: "86", 89: "86", 90: "90", 100: "", 120: ""} {
		if got := string(machine(files, "norms", capability)); got != want {
			t.Errorf("norms on %d: machine code for %q, want %q", capability, got, want)
		}
	}
	if got := machine(files, "training", 90); got != nil {
		t.Errorf("a family without machine code: %q", got)
	}
}

func TestFor(t *testing.T) {
	for capability, want := range map[int]int{74: 0, 75: 75, 90: 75} {
		if got := For(capability)["elementwise"].Arch; got != want {
			t.Errorf("elementwise for %d: module for %d, want %d", capability, got, want)
		}
	}
}

// Inline PTX lies in the few named functions of intrinsics.cuh, and nothing adds
// in whatever order threads come: no floating-point atomics. What the driver compiles
// it may not join either: every product and sum names its rounding.
func TestSources(t *testing.T) {
	names, err := filepath.Glob("*.cu*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil || name == "intrinsics.cuh" {
			continue
		}
		if strings.Contains(string(text), "asm") {
			t.Errorf("%s has inline PTX", name)
		}
	}
	for _, m := range Modules() {
		for _, word := range []string{"\tatom.", "\tred."} {
			if strings.Contains(m.PTX, word) {
				t.Errorf("%s for %d has an atomic operation: %q", m.Family, m.Arch, word)
			}
		}
		for _, word := range []string{"\tadd.f", "\tsub.f", "\tmul.f", "\tadd.ftz", "\tmul.ftz"} {
			if strings.Contains(m.PTX, word) {
				t.Errorf("%s for %d may be rounded otherwise by the driver: %q", m.Family, m.Arch, word)
			}
		}
	}
}
