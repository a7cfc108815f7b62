package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

const top = "../.." // of the repository

// pages are what users read.
func pages(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(top + "/docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string]string{}
	for _, f := range append(files, top+"/README.md") {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		rel, err := filepath.Rel(top, f)
		if err != nil {
			t.Fatal(err)
		}
		pages[filepath.ToSlash(rel)] = string(b)
	}
	return pages
}

// codeLines are the lines of a page's code blocks, those that a backslash ends joined with the next.
func codeLines(page string) []string {
	var lines []string
	fenced, joined := false, ""
	for line := range strings.Lines(page) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
			continue
		}
		if !fenced && !strings.HasPrefix(line, "    ") {
			continue
		}
		if head, more := strings.CutSuffix(line, "\\"); more {
			joined += head
			continue
		}
		lines = append(lines, joined+line)
		joined = ""
	}
	return lines
}

var (
	invocation = regexp.MustCompile(`(?:^|\$\(|&&|\||;)\s*(?:\./lowrank|lowrank|go run \./scripts/lowrank)((?:\s+(?:"[^"]*"|'[^']*'|[^\s#|)>&;]+))*)`)
	word       = regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`)
	inline     = regexp.MustCompile("`((?:\\./)?lowrank [^`]+)`")
)

// invocations are the arguments of each call of lowrank in a line of shell.
func invocations(line string) [][]string {
	if at := strings.Index(line, " # "); at >= 0 {
		line = line[:at]
	}
	var calls [][]string
	for _, m := range invocation.FindAllStringSubmatch(strings.TrimSpace(line), -1) {
		var args []string
		for _, w := range word.FindAllString(m[1], -1) {
			args = append(args, strings.Trim(w, `"'`))
		}
		calls = append(calls, args)
	}
	return calls
}

// parse fails for a verb, a flag or a number of arguments that lowrank does not take.
func parse(args []string) (*cobra.Command, error) {
	r := root()
	cmd, rest, err := r.Find(args)
	if err != nil {
		return nil, err
	}
	cmd.InitDefaultHelpFlag()
	if err := cmd.ParseFlags(rest); err != nil {
		return nil, err
	}
	return cmd, cmd.ValidateArgs(cmd.Flags().Args())
}

func TestDocsCommands(t *testing.T) {
	seen := 0
	for name, page := range pages(t) {
		for _, line := range codeLines(page) {
			for _, args := range invocations(line) {
				seen++
				if _, err := parse(args); err != nil {
					t.Errorf("%s: %s: %v", name, strings.TrimSpace(line), err)
				}
			}
		}
		for _, m := range inline.FindAllStringSubmatch(page, -1) {
			call := strings.NewReplacer("…", "x", "[", "", "]", "").Replace(m[1])
			for _, args := range invocations(call) {
				seen++
				cmd, rest, err := root().Find(args)
				if err != nil {
					t.Errorf("%s: `%s`: %v", name, m[1], err)
					continue
				}
				for _, a := range rest {
					flag, long := strings.CutPrefix(a, "--")
					flag, _, _ = strings.Cut(flag, "=")
					if long && flag != "help" && cmd.Flags().Lookup(flag) == nil && cmd.InheritedFlags().Lookup(flag) == nil {
						t.Errorf("%s: `%s`: %s has no flag --%s", name, m[1], cmd.CommandPath(), flag)
					}
				}
			}
		}
	}
	if seen < 15 {
		t.Errorf("only %d calls of lowrank were found", seen)
	}
}

// TestExamples holds that each command has examples, and that they are taken.
func TestExamples(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		for _, sub := range c.Commands() {
			walk(sub)
		}
		if c.Hidden {
			return
		}
		if c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for line := range strings.Lines(c.Example) {
			calls := invocations(line)
			if len(calls) == 0 && strings.TrimSpace(line) != "" {
				t.Errorf("%s: the example %q does not call lowrank", c.CommandPath(), strings.TrimSpace(line))
			}
			for _, args := range calls {
				got, err := parse(args)
				if err != nil {
					t.Errorf("%s: example %q: %v", c.CommandPath(), strings.TrimSpace(line), err)
				} else if got.Name() == root().Name() {
					t.Errorf("%s: example %q names no command", c.CommandPath(), strings.TrimSpace(line))
				}
			}
		}
	}
	walk(root())
}

var (
	link  = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	place = regexp.MustCompile("(?:^|[\\s`(])((?:scripts|docs|infra|gpurunner|functions|samples|events|\\.ci)/[A-Za-z0-9_./-]*[A-Za-z0-9_])")
	title = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	plain = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// TestDocsLinks follows every link and every path that a page names to a file of the tree.
func TestDocsLinks(t *testing.T) {
	all := pages(t)
	for name, page := range all {
		for _, m := range link.FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			target, anchor, _ := strings.Cut(m[1], "#")
			path := name
			if target != "" {
				path = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat(filepath.Join(top, path)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			} else if anchor != "" && !anchors(all[path])[anchor] {
				t.Errorf("%s: %s has no heading #%s", name, path, anchor)
			}
		}
		for _, m := range place.FindAllStringSubmatch(page, -1) {
			if strings.Contains(m[1], "...") {
				continue
			}
			if _, err := os.Stat(filepath.Join(top, m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
}

// anchors are the headings of a page, as GitHub names them.
func anchors(page string) map[string]bool {
	found := map[string]bool{}
	for _, m := range title.FindAllStringSubmatch(page, -1) {
		found[strings.ReplaceAll(plain.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-")] = true
	}
	return found
}
