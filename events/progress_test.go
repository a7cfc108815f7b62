package events

import (
	"strings"
	"testing"
	"time"
)

func TestProgressLine(t *testing.T) {
	tests := []struct {
		name        string
		done, total int
		elapsed     time.Duration
		note, want  string
	}{
		{"Half", 350, 700, 35 * time.Second, "loss=0.0812", " 50%|█████     | 350/700 [00:35<00:35, 10.00it/s, loss=0.0812]\n"},
		{"Start", 0, 20, 0, "", "  0%|          | 0/20 [00:00<?, ?it/s]\n"},
		{"End", 20, 20, 40 * time.Second, "", "100%|██████████| 20/20 [00:40<00:00,  2.00s/it]\n"},
		{"Hours", 1, 3, 2 * time.Hour, "", " 33%|███       | 1/3 [2:00:00<4:00:00, 7200.00s/it]\n"},
		{"Clipped", 9, 3, time.Second, "a\nb", "100%|██████████| 3/3 [00:01<00:00,  3.00it/s, a b]\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ProgressLine(tt.done, tt.total, tt.elapsed, tt.note)
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if strings.Count(got, "\n") != 1 || !progressPattern.MatchString(got) {
				t.Errorf("the clients cannot read %q", got)
			}
		})
	}
}

func TestParseProgress(t *testing.T) {
	log := "Using seed: 7\n" + ProgressLine(1, 10, time.Second, "") + "a note\n" + ProgressLine(4, 10, time.Second, "") + "end\n"
	if d, n, ok := ParseProgress(log); !ok || d != 4 || n != 10 {
		t.Errorf("got %d/%d, %v", d, n, ok)
	}
	if _, _, ok := ParseProgress("no progress\n"); ok {
		t.Error("progress found where there is none")
	}
}
