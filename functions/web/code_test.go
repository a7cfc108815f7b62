package web_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"html"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lowrank/lowrank/functions/api/apitest"
)

// required reports whether LOWRANK_REQUIRE names a feature: then a test that cannot run fails.
func required(feature string) bool {
	return slices.Contains(strings.Split(os.Getenv("LOWRANK_REQUIRE"), ","), feature)
}

// tool finds a program, or ends the test.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if required("clients") {
			t.Fatalf("LOWRANK_REQUIRE asks for clients, but %s is not installed", name)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// tricky is a prompt that breaks what quotes badly.
const tricky = "it's a \"cat\" `here` $HOME ${x} \\ </script>\nJSON\n<1> # // é \u2028 \u007f"

// code is the text of a snippet on a page, without its marks.
func code(page, language string) string {
	_, rest, _ := strings.Cut(page, `data-code="`+language+`"`)
	_, rest, _ = strings.Cut(rest, "<code>")
	marked, _, _ := strings.Cut(rest, "</code>")
	return html.UnescapeString(regexp.MustCompile(`</?span[^>]*>`).ReplaceAllString(marked, ""))
}

// snippetsOf are the snippets for a form's values, as the API tab gets them.
func (b *browser) snippetsOf(model string, form url.Values) string {
	b.Helper()
	a := b.post(model+"/api", form)
	if a.status != 200 {
		b.Fatalf("got %d\n%s", a.status, a.body)
	}
	return a.body
}

// TestSnippetsParse: whatever the form holds, the code is code.
func TestSnippetsParse(t *testing.T) {
	s := start(t, apitest.Options{Idle: true})
	b := s.browser()
	switches := url.Values{"train_text_encoder": {"false"}, "learning_rate_ti": {"0.00001"}}
	for name, page := range map[string]string{
		"lora":     b.snippetsOf("/replicate/lora", url.Values{"prompt": {tricky}, "width": {"128"}, "guidance_scale": {"2.5"}, "lora_urls": {"http://a.example/b|http://c.example/d"}}),
		"plain":    b.page("/replicate/lora/api"),
		"training": b.page("/replicate/lora-training/api"),
		"advanced": b.snippetsOf("/replicate/lora-advanced-training", switches),
	} {
		t.Run(name+"/go", func(t *testing.T) {
			if _, err := parser.ParseFile(token.NewFileSet(), "main.go", code(page, "go"), parser.AllErrors); err != nil {
				t.Errorf("%v\n%s", err, code(page, "go"))
			}
		})
		t.Run(name+"/curl", func(t *testing.T) {
			cmd := exec.Command(tool(t, "bash"), "-n")
			cmd.Stdin = strings.NewReader(code(page, "curl"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v %s\n%s", err, out, code(page, "curl"))
			}
		})
		t.Run(name+"/python", func(t *testing.T) {
			cmd := exec.Command(tool(t, "python3"), "-c", "import ast, sys; ast.parse(sys.stdin.read())")
			cmd.Stdin = strings.NewReader(code(page, "python"))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v %s\n%s", err, out, code(page, "python"))
			}
		})
		t.Run(name+"/node", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "a.mjs")
			if err := os.WriteFile(file, []byte(code(page, "node")), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(tool(t, "node"), "--check", file).CombinedOutput(); err != nil {
				t.Errorf("%v %s\n%s", err, out, code(page, "node"))
			}
		})
	}
}

// client finds what scripts/clients/run has installed, or ends the test.
func client(t *testing.T, parts ...string) string {
	t.Helper()
	dir := os.Getenv("LOWRANK_CLIENTS_CACHE")
	if dir == "" {
		dir = filepath.Join("..", "..", ".cache", "clients")
	}
	path, err := filepath.Abs(filepath.Join(append([]string{dir}, parts...)...))
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		if required("clients") {
			t.Fatalf("LOWRANK_REQUIRE asks for clients: run scripts/clients/run install first (%v)", err)
		}
		t.Skip("scripts/clients/run install was not run")
	}
	return path
}

// TestSnippetsRun runs the code of each language against the server that printed it, with the clients that it names.
func TestSnippetsRun(t *testing.T) {
	s := start(t, apitest.Options{Train: 20 * time.Millisecond, Draw: 10 * time.Millisecond})
	b := s.browser()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pictures.zip"), zipOf(t), 0o644); err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		cmd := exec.Command(name, args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "REPLICATE_API_TOKEN="+s.token, "GO111MODULE=off", "GOFLAGS=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	draw := b.snippetsOf("/replicate/lora", url.Values{"prompt": {tricky}, "num_outputs": {"2"}})
	train := b.page("/replicate/lora-training/api")
	shell := func(page string) string {
		_, script, _ := strings.Cut(code(page, "curl"), "\n") // without the line of the token
		return "set -e\n" + script
	}
	t.Run("curl/draw", func(t *testing.T) {
		tool(t, "curl")
		var p struct {
			Input  struct{ Prompt string }
			Output []string
		}
		if err := json.Unmarshal([]byte(run(t, tool(t, "bash"), "-c", shell(draw))), &p); err != nil || p.Input.Prompt != tricky || len(p.Output) != 2 {
			t.Errorf("got %+v, %v", p, err)
		}
	})
	t.Run("curl/train", func(t *testing.T) {
		tool(t, "curl")
		tool(t, "jq")
		if out := run(t, tool(t, "bash"), "-c", shell(train)); !strings.Contains(out, `"status":`) {
			t.Errorf("got %s", out)
		}
	})
	// Replicate's clients print the addresses of what was made; the module looks for its client beside itself.
	for name, page := range map[string]string{"draw": draw, "train": train} {
		t.Run("python/"+name, func(t *testing.T) {
			file := filepath.Join(dir, name+".py")
			if err := os.WriteFile(file, []byte(code(page, "python")), 0o644); err != nil {
				t.Fatal(err)
			}
			if out := run(t, client(t, "v107", "bin", "python"), "-W", "ignore", file); !strings.Contains(out, "/pbxt/") {
				t.Errorf("got %s", out)
			}
		})
		t.Run("node/"+name, func(t *testing.T) {
			modules := client(t, "node", "node_modules")
			if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil && !os.IsExist(err) {
				t.Fatal(err)
			}
			file := filepath.Join(dir, name+".mjs")
			if err := os.WriteFile(file, []byte(code(page, "node")), 0o644); err != nil {
				t.Fatal(err)
			}
			if out := run(t, tool(t, "node"), file); !strings.Contains(out, "/pbxt/") {
				t.Errorf("got %s", out)
			}
		})
	}
	for name, page := range map[string]string{"go/draw": draw, "go/train": train} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, strings.ReplaceAll(name, "/", "_")+".go")
			if err := os.WriteFile(file, []byte(code(page, "go")), 0o644); err != nil {
				t.Fatal(err)
			}
			if out := run(t, tool(t, "go"), "run", file); !strings.Contains(out, "/pbxt/") {
				t.Errorf("got %s", out)
			}
		})
	}
}
