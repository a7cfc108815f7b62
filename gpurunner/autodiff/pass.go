package autodiff

import (
	"context"
	"fmt"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Pass is one run through a model.
type Pass struct {
	Pool *tensor.Pool
	// Tap, if set, sees the output of each module by its path, such as
	// "down_blocks.0.attentions.0"; modules then keep from fusing past it.
	Tap func(path string, t *tensor.Tensor)

	ctx  context.Context
	tape *tape
}

// tape is the list of recorded operations.
type tape struct {
	nodes      []node
	checkpoint bool
}

// node is a recorded operation.
type node interface {
	// output is the value that the operation made.
	output() *Value
	// backward adds to the gradients of the inputs, dy being the gradient of
	// the output.
	backward(p *Pass, dy *tensor.Tensor)
	// release gives back what the operation saved.
	release()
}

// stop unwinds a pass whose context is done.
type stop struct{ err error }

// Run calls f with a pass without a tape and returns its error. When ctx ends,
// f is left at the next operation and the context's error is returned; so is a
// failure of the device. Everything that f allocated and held is then given
// back.
func Run(ctx context.Context, pool *tensor.Pool, f func(p *Pass) error) error {
	return run(&Pass{Pool: pool, ctx: ctx}, f)
}

// Options say how a recording pass behaves.
type Options struct {
	// Checkpoint makes Pass.Checkpoint keep the inputs of a segment only and
	// run it again in backward: less memory, a third more work, equal bits.
	Checkpoint bool
}

// Record is Run with a tape. f calls Backward itself.
func Record(ctx context.Context, pool *tensor.Pool, o Options, f func(p *Pass) error) error {
	return run(&Pass{Pool: pool, ctx: ctx, tape: &tape{checkpoint: o.Checkpoint}}, f)
}

func run(p *Pass, f func(p *Pass) error) (err error) {
	mark := p.Pool.Mark()
	p.Step()
	p.Pool.Device.Bind(p.ctx)
	defer func() {
		r := recover()
		switch r := r.(type) {
		case nil:
			p.dropTape()
			if err == nil {
				err = p.Pool.Device.Sync()
			}
		case stop:
			err = r.err
		case tensor.Failure:
			err = r.Err
		default:
			panic(r)
		}
		if err != nil {
			// Queued kernels must be done with the memory before it goes back.
			_ = p.Pool.Device.Sync()
			p.Pool.ReleaseSince(mark)
		}
		p.Pool.Device.Bind(context.Background())
	}()
	return f(p)
}

// Recording reports whether the pass has a tape.
func (p *Pass) Recording() bool { return p.tape != nil }

// Device returns the device that the pass runs on.
func (p *Pass) Device() device.Device { return p.Pool.Device }

// Step tells the device that a step begins or ends here that may come again: see
// device.Stepper.
func (p *Pass) Step() {
	if s, ok := p.Pool.Device.(device.Stepper); ok {
		s.Step()
	}
}

// check leaves the pass when its context is done. Every operation calls it.
func (p *Pass) check() {
	if err := p.ctx.Err(); err != nil {
		panic(stop{err})
	}
}

func (p *Pass) record(n node) { p.tape.nodes = append(p.tape.nodes, n) }

func (p *Pass) dropTape() {
	if p.tape == nil {
		return
	}
	for _, n := range p.tape.nodes {
		n.release()
		if o := n.output(); o.grad != nil {
			o.grad.Release()
			o.grad = nil
		}
	}
	p.tape.nodes = nil
}

// Backward sends the gradients that losses have left on the tape's values back
// to the parameters, and empties the tape.
func (p *Pass) Backward() {
	if p.tape == nil {
		panic("autodiff: Backward on a pass without a tape")
	}
	nodes := p.tape.nodes
	for i := len(nodes) - 1; i >= 0; i-- {
		p.check()
		n := nodes[i]
		// The tape shrinks as it is walked, so that a pass broken off here
		// holds each saved tensor once.
		p.tape.nodes = nodes[:i]
		nodes[i] = nil
		out := n.output()
		if dy := out.grad; dy != nil {
			out.grad = nil
			n.backward(p, dy)
			dy.Release()
		}
		n.release()
	}
}

// new allocates an f32 result.
func (p *Pass) new(shape ...int) *tensor.Tensor { return p.Pool.New(device.F32, shape...) }

func mustShape(op string, got []int, want ...int) {
	if len(got) == len(want) {
		same := true
		for i := range got {
			same = same && got[i] == want[i]
		}
		if same {
			return
		}
	}
	panic(fmt.Sprintf("autodiff: %s: shape %v, want %v", op, got, want))
}
