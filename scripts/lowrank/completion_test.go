package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

// printed is what a command prints on the standard output.
func printed(t *testing.T, args ...string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stdout := os.Stdout
	os.Stdout = f // before root: cobra's completion remembers it from there
	defer func() { os.Stdout = stdout }()
	cmd := root()
	cmd.SetArgs(args)
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestCompletion: shells are offered commands and the values of flags; those that are here take their scripts.
func TestCompletion(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"Command", []string{"tra"}, "train"},
		{"Task", []string{"train", "--task", ""}, "style"},
		{"Scheduler", []string{"generate", "--scheduler", ""}, "K_EULER"},
		{"Device", []string{"serve", "--device", "c"}, "cuda"},
		{"Format", []string{"convert", "--format", ""}, "kohya"},
		{"Shell", []string{"completion", ""}, "fish"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var offers []string
			for line := range strings.Lines(printed(t, append([]string{"__complete"}, tt.args...)...)) {
				offer, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
				offers = append(offers, offer)
			}
			if !slices.Contains(offers, tt.want) {
				t.Errorf("%q is not among %q", tt.want, offers)
			}
		})
	}
	for shell, check := range map[string][]string{"bash": {"-n"}, "zsh": {"-n"}, "fish": {"--no-execute"}} {
		t.Run(shell, func(t *testing.T) {
			script := printed(t, "completion", shell)
			if !strings.Contains(script, "lowrank") {
				t.Fatalf("the script does not name lowrank: %.200q", script)
			}
			program, err := exec.LookPath(shell)
			if err != nil {
				if paritytest.Required("shells") {
					t.Fatalf("LOWRANK_REQUIRE asks for shells, but there is no %s here", shell)
				}
				t.Skipf("there is no %s here to read the script", shell)
			}
			cmd := exec.Command(program, check...)
			cmd.Stdin = strings.NewReader(script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s refuses the script: %v\n%s", shell, err, out)
			}
		})
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"version"}, {"--version"}} {
		if got := printed(t, args...); !strings.HasPrefix(got, "lowrank "+version+" ") || strings.Count(got, "\n") != 1 {
			t.Errorf("lowrank %s prints %q", args[0], got)
		}
	}
}

func TestQuoted(t *testing.T) {
	for path, want := range map[string]string{
		"/tmp/lowrank-demo-1/neon-sign.safetensors": "/tmp/lowrank-demo-1/neon-sign.safetensors",
		"/home/é/x": "/home/é/x",
		"/tmp/a b":  "'/tmp/a b'",
		"/tmp/it's": `'/tmp/it'\''s'`,
		"/tmp/$x":   "'/tmp/$x'",
	} {
		if got := quoted(path); got != want {
			t.Errorf("%s becomes %s, want %s", path, got, want)
		}
	}
}
