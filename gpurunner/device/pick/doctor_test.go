package pick

import (
	"bytes"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	for _, tt := range []struct {
		name, device string
		says, fails  string
	}{
		{"CPU", "cpu", "device         cpu", ""},
		{"ErrDevice", "gpu", "", "must be auto, cpu or cuda"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := Doctor(&out, Request{Device: tt.device})
			if tt.fails == "" && err != nil || tt.fails != "" && (err == nil || !strings.Contains(err.Error(), tt.fails)) {
				t.Errorf("%v, want %q", err, tt.fails)
			}
			if !strings.Contains(out.String(), tt.says) {
				t.Errorf("it does not say %q:\n%s", tt.says, out.String())
			}
		})
	}
	if built {
		return
	}
	var out bytes.Buffer
	if err := Doctor(&out, Request{}); err != nil || !strings.Contains(out.String(), "none is used") {
		t.Errorf("auto in a plain build: %v\n%s", err, out.String())
	}
	if err := Doctor(&out, Request{Device: "cuda"}); err == nil {
		t.Error("cuda in a plain build: no error")
	}
}
