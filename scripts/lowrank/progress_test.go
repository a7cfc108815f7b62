package main

import (
	"testing"
	"time"
)

// TestProgressText: the time left follows the pace of this process alone, whose
// work may begin where another's stopped.
func TestProgressText(t *testing.T) {
	start := time.Now()
	for _, tt := range []struct {
		name  string
		steps [][2]int // seconds, steps done
		want  string
	}{
		{"First", [][2]int{{0, 1}}, "1/100, loss 0.5"},
		{"Pace", [][2]int{{0, 1}, {10, 11}}, "11/100, 1m29s left, loss 0.5"},
		{"Resumed", [][2]int{{0, 81}, {20, 91}}, "91/100, 18s left, loss 0.5"},
		{"Done", [][2]int{{0, 81}, {20, 100}}, "100/100, loss 0.5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var p progress
			got := ""
			for _, s := range tt.steps {
				got = p.text(start.Add(time.Duration(s[0])*time.Second), s[1], 100, "loss 0.5")
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
