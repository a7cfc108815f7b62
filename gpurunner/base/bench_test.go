package base_test

import (
	"testing"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
)

// BenchmarkOpen is what a start-up waits for: card, configurations, tokenizer and the headers of all weights.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		m, err := base.Open(embedded.Name, base.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for _, part := range m.Parts() {
			if _, err := m.Weights(part); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := m.Tokenizer("tokenizer"); err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
