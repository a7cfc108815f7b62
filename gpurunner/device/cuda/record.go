//go:build cuda

package cuda

import (
	"errors"
	"fmt"
)

// Recording is work that was queued once and can be run again with one call:
// a step of training or of sampling, whose kernels would otherwise be launched
// one by one.
//
// What changes from one replay to the next must lie in device memory: the
// arguments of calls are part of the recording. What the work read and wrote
// without allocating it must still be allocated when it is replayed; what it
// allocated, and gave back, stays reserved until Close.
type Recording struct {
	device *Device
	graph  *graph
	memory *heap
}

// Record runs f on the device with its kernels noted instead of run. f must not
// Upload, Download or Sync; run it once before, so that nothing is loaded while
// recording. What f allocates and does not release is the caller's.
func (d *Device) Record(f func() error) (*Recording, error) {
	if d.record != nil {
		return nil, errors.New("cuda: a recording within a recording")
	}
	if err := d.Sync(); err != nil {
		return nil, err
	}
	r := &Recording{device: d, memory: &heap{source: &d.driver, segment: segmentBytes}}
	if err := d.driver.beginCapture(); err != nil {
		return nil, err
	}
	d.record = r.memory
	// f may panic: passes of autodiff unwind so.
	defer func() {
		if d.record != nil {
			d.record = nil
			if g, _ := d.driver.endCapture(); g != nil {
				d.driver.destroyGraph(g)
			}
			r.memory.retire()
		}
	}()
	err := f()
	d.record = nil
	g, endErr := d.driver.endCapture()
	if err == nil {
		err = d.err
	}
	if err == nil {
		err = endErr
	}
	if err != nil {
		if g != nil {
			d.driver.destroyGraph(g)
		}
		r.memory.retire()
		return nil, err
	}
	r.graph = g
	return r, nil
}

// Replay queues the recorded work once more.
func (r *Recording) Replay() {
	d := r.device
	if d.err != nil || d.ctx.Err() != nil {
		return
	}
	if err := d.driver.launchGraph(r.graph); err != nil {
		d.lose(err)
	}
}

// Kernels is the number of kernels, copies and fills in the recording.
func (r *Recording) Kernels() int { return r.graph.nodes }

// String tells what was recorded, for logs.
func (r *Recording) String() string {
	return fmt.Sprintf("%d kernels over %s", r.graph.nodes, mib(r.memory.reserved))
}

// Close gives back the recording and what it reserved.
func (r *Recording) Close() {
	r.device.driver.destroyGraph(r.graph)
	r.memory.retire()
}
