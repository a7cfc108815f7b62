package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxMain is how many lines a function's main may have: it wires, others work.
const maxMain = 40

// built lists what scripts/rehearse/build builds: package by function.
func built(t *testing.T) map[string]string {
	t.Helper()
	_, list, ok := strings.Cut(read(t, "scripts/rehearse/build"), "<<'LIST'\n")
	if !ok {
		t.Fatal("scripts/rehearse/build has no list of functions")
	}
	list, _, _ = strings.Cut(list, "LIST\n")
	packages := map[string]string{}
	for line := range strings.Lines(list) {
		name, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
		packages[name] = dir
	}
	return packages
}

// read reads a file of the checkout.
func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestFunctions holds every function to what it must have: a short main, a place
// in a template, a sample of its event that its package's tests read.
func TestFunctions(t *testing.T) {
	packages := built(t)
	templates := read(t, "template.yaml") + read(t, "infra/consumer.yaml")
	for _, want := range []string{"upload", "submit", "status", "ingest", "notify", "sweep", "web"} {
		if packages[want] == "" {
			t.Errorf("function %s is not built", want)
		}
	}
	if n := strings.Count(templates, "bin/functions/"); n != len(packages) {
		t.Errorf("the templates name %d functions, %d are built", n, len(packages))
	}
	for name, dir := range packages {
		t.Run(name, func(t *testing.T) {
			if n := strings.Count(read(t, filepath.Join(dir, "main.go")), "\n"); n > maxMain {
				t.Errorf("its main has %d lines, %d are allowed", n, maxMain)
			}
			if !strings.Contains(templates, "bin/functions/"+name+"\n") {
				t.Error("no template names it")
			}
			if sample := read(t, "events/samples/lambda-"+name+".json"); !json.Valid([]byte(sample)) {
				t.Error("its sample is no JSON")
			}
		})
	}
}
