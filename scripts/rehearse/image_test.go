package main

import (
	"go/parser"
	"go/token"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instructions are a Dockerfile's, each on one line, without comments.
func instructions(text string) [][]string {
	var all [][]string
	whole := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if more, ok := strings.CutSuffix(line, "\\"); ok {
			whole += more + " "
			continue
		}
		all = append(all, strings.Fields(whole+line))
		whole = ""
	}
	return all
}

var output = regexp.MustCompile(`-o (\S+) (\./\S+)|install -d .* (/\S+)$`)

// TestDockerfile follows infra/Dockerfile as far as that goes without Docker: all
// that is copied is in the checkout or made by the first stage, from programs and
// scripts that there are; what comes out runs as nobody.
func TestDockerfile(t *testing.T) {
	text := read(t, "infra/Dockerfile")
	goVersion := regexp.MustCompile(`(?m)^go (\S+)$`).FindStringSubmatch(read(t, "go.mod"))[1]
	made := map[string]bool{} // by the first stage
	last := map[string]string{}
	stages, copied := 0, []string{}
	for _, fields := range instructions(text) {
		args := fields[1:]
		line := strings.Join(args, " ")
		last[fields[0]] = line
		switch fields[0] {
		case "FROM":
			if stages++; stages == 1 && !strings.HasPrefix(line, "golang:"+goVersion+"-bookworm ") {
				t.Errorf("the first stage is %s; go.mod wants Go %s, the second stage's C library Debian 12", line, goVersion)
			}
		case "RUN":
			for _, word := range args {
				script := strings.TrimLeft(word, `"$(`)
				if !strings.HasPrefix(script, "scripts/") {
					continue
				}
				if info, err := os.Stat(filepath.Join("../..", script)); err != nil || info.Mode()&0o111 == 0 {
					t.Errorf("RUN %s: %s is no program: %v", line, script, err)
				}
			}
			for _, m := range output.FindAllStringSubmatch(line, -1) {
				made[m[1]+m[3]] = true
				if m[2] != "" && !isMain(t, m[2]) {
					t.Errorf("RUN %s: %s is no program's package", line, m[2])
				}
			}
		case "COPY":
			args := slices.DeleteFunc(args, func(a string) bool { return strings.HasPrefix(a, "--") })
			for _, from := range args[:len(args)-1] {
				if strings.Contains(line, "--from=build") {
					copied = append(copied, args[len(args)-1])
					if !made[from] {
						t.Errorf("COPY %s: the first stage does not make %s", line, from)
					}
				} else if _, err := os.Stat(filepath.Join("../..", from)); err != nil {
					t.Errorf("COPY %s: %v", line, err)
				}
			}
		}
	}
	if stages != 2 || last["USER"] != "65532:65532" || last["STOPSIGNAL"] != "SIGTERM" {
		t.Errorf("%d stages, USER %s, STOPSIGNAL %s; want 2, nobody, SIGTERM", stages, last["USER"], last["STOPSIGNAL"])
	}
	entry := strings.Trim(last["ENTRYPOINT"], `[]"`)
	if !slices.Contains(copied, entry) || !strings.HasPrefix(last["ENTRYPOINT"], "[") || !slices.Contains(copied, path.Dir(entry)+"gpurunner-cuda") {
		t.Errorf("ENTRYPOINT %s is none of %v, or goes through a shell, or has no CUDA build beside it", last["ENTRYPOINT"], copied)
	}
	// The task's command is the image's, but for the queue; and its instance has a GPU: without one it must not go on.
	command := strings.NewReplacer(`"`, "", "predictions", "trainings", "]", ", --device, cuda]").Replace(last["CMD"])
	if !strings.Contains(read(t, "infra/runners.yaml"), "Command: "+command+"\n") {
		t.Errorf("infra/runners.yaml runs no task with the command %s", command)
	}
}

// isMain reports whether a package of the checkout is a program's.
func isMain(t *testing.T, dir string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		return f.Name.Name == "main"
	}
	return false
}
