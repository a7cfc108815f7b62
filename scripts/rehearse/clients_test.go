package main

import "testing"

// TestExempt: a script may leave out streams, and nothing else.
func TestExempt(t *testing.T) {
	const streams = "  skip  SSE  (the server offers no urls.stream)\n  skip  SSE  (no urls.stream)\nclient_107: ok passed=105 skipped=2\n"
	if err := exempt(streams); err != nil {
		t.Error(err)
	}
	if exempt(streams+"  skip  collections  (404)\n") == nil {
		t.Error("a script may leave out collections")
	}
}
