package train

import (
	"errors"
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
)

// noRoom says of a device whose memory was not enough what was asked of it, and
// what to lower. Other errors it passes on.
func noRoom(err error, o Options) error {
	var base *diffusion.TooLargeError // which no option makes smaller
	if !errors.Is(err, device.ErrOutOfMemory) || errors.As(err, &base) {
		return err
	}
	lower := "lower train_batch_size or resolution"
	if o.TrainBatchSize == 1 {
		lower = "lower resolution"
	}
	if !o.GradientCheckpointing {
		lower += ", or set gradient_checkpointing"
	}
	return fmt.Errorf("train_batch_size %d at resolution %d does not fit into the device's memory: %s (%w)", o.TrainBatchSize, o.Resolution, lower, err)
}
