package models

import (
	"errors"
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/worker"
)

// watchDevice measures what a job takes of the device; the function it returns
// says so in the job's log and tells the loop of a device that is gone.
func (e *Engine) watchDevice(t *worker.Task) func(err error) error {
	dev := e.Pool.Device
	meter, ok := dev.(device.PeakMeter)
	if ok {
		meter.ResetPeak()
	}
	return func(err error) error {
		if ok {
			t.Logf("Peak memory: %.2f GiB on %s", float64(dev.Stats().Peak)/(1<<30), dev.Name())
		}
		if errors.Is(err, device.ErrLost) {
			err = fmt.Errorf("%w: %w", worker.ErrBroken, err)
		}
		return err
	}
}
