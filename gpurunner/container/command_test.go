package container

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

func TestCommand(t *testing.T) {
	for _, tt := range []struct {
		name  string
		args  []string
		says  string // on standard output
		fails string
	}{
		{"Doctor", []string{"doctor", "--device", "cpu"}, "device         cpu", ""},
		{"ErrDevice", []string{"--device", "gpu"}, "", "must be auto, cpu or cuda"},
		{"ErrPrecision", []string{"doctor", "--precision", "f8"}, "", "must be auto, f32, bf16 or f16"},
		{"ErrCommand", []string{"heal"}, "", "not a command"},
		{"ErrFlag", []string{"--quick"}, "", "not defined"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out, messages bytes.Buffer
			err := Run(context.Background(), tt.args, &out, &messages)
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Errorf("%v, want %q", err, tt.fails)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, out.String())
			}
		})
	}
}
