package train

import (
	"errors"
	"fmt"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/device"
)

func TestNoRoom(t *testing.T) {
	full := fmt.Errorf("cuda: %w", device.ErrOutOfMemory)
	for _, tt := range []struct {
		batch      int
		checkpoint bool
		err        error
		want       string
	}{
		{4, false, full, "train_batch_size 4 at resolution 512 does not fit into the device's memory: lower train_batch_size or resolution, or set gradient_checkpointing (cuda: device: out of memory)"},
		{1, true, full, "train_batch_size 1 at resolution 512 does not fit into the device's memory: lower resolution (cuda: device: out of memory)"},
		{1, true, errors.New("else"), "else"},
	} {
		got := noRoom(tt.err, Options{TrainBatchSize: tt.batch, Resolution: 512, GradientCheckpointing: tt.checkpoint})
		if got.Error() != tt.want || !errors.Is(got, tt.err) {
			t.Errorf("got  %v\nwant %s", got, tt.want)
		}
	}
	if noRoom(nil, Options{}) != nil {
		t.Error("an error of none")
	}
}
