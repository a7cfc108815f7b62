package generate

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

// evaluation is what a drawing asks of the UNet.
type evaluation struct {
	net  *unet.UNet
	in   *autodiff.Value // [n,h,w,InChannels]
	cond unet.Condition

	out  *tensor.Tensor // [n,h,w,OutChannels], of the answer
	done bool           // out or err holds; else the drawing evaluates alone
	err  error
}

// run evaluates alone.
func (e *evaluation) run(p *autodiff.Pass) (*autodiff.Value, error) {
	p.Step() // the coefficients before and after lie elsewhere for every evaluation
	defer p.Step()
	return e.net.Forward(p, e.in, e.cond)
}

// fits reports whether two evaluations can be one.
func (e *evaluation) fits(o *evaluation) bool {
	return e.net == o.net && slices.Equal(e.in.T.Shape[1:], o.in.T.Shape[1:]) && slices.Equal(e.cond.Context.T.Shape[1:], o.cond.Context.T.Shape[1:])
}

// joint is what evaluations of the same drawings share from step to step.
type joint struct {
	seats   []*Seat
	prompts []*autodiff.Value // the drawings' own, by which a change is seen
	context *autodiff.Value   // all of them, [N,T,D]
	pooled  *autodiff.Value   // [N,P], SDXL
	timeIDs [][6]float64
	kept    unet.Kept
}

func (j *joint) release() {
	j.context.Release()
	j.pooled.Release()
	j.kept.Release()
	*j = joint{}
}

// is reports whether j is that of a group's evaluations.
func (j *joint) is(group []*Seat) bool {
	return slices.Equal(j.seats, group) && slices.EqualFunc(j.prompts, group, func(v *autodiff.Value, s *Seat) bool { return v == s.ask.cond.Context })
}

// join puts the prompts of a group one after the other.
func (j *joint) join(p *autodiff.Pass, group []*Seat) {
	j.release()
	var contexts, pooled []*tensor.Tensor
	for _, s := range group {
		c := &s.ask.cond
		j.prompts = append(j.prompts, c.Context)
		contexts = append(contexts, c.Context.T)
		if c.Pooled != nil {
			pooled = append(pooled, c.Pooled.T)
		}
		j.timeIDs = append(j.timeIDs, c.TimeIDs...)
	}
	j.context = autodiff.Constant(stack(p, contexts))
	if pooled != nil {
		j.pooled = autodiff.Constant(stack(p, pooled))
	}
	j.seats = slices.Clone(group)
}

// stack copies tensors of [n,…] one behind the other.
func stack(p *autodiff.Pass, parts []*tensor.Tensor) *tensor.Tensor {
	shape := slices.Clone(parts[0].Shape)
	shape[0] = 0
	for _, t := range parts {
		shape[0] += t.Dim(0)
	}
	all := p.Pool.New(device.F32, shape...)
	at := 0
	for _, t := range parts {
		p.Device().Copy(all.Data.Slice(at, t.Len()), t.Data)
		at += t.Len()
	}
	return all
}

// together answers a group in one pass in the turn of one of them, and lets the
// others go on. Where it does not come to that, for want of memory or because
// nobody waits for the answer any more, the evaluations stay undone and each
// drawing makes its own.
func (b *Batch) together(group []*Seat, mine *Seat) {
	defer func() { // after a panic, too
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range group {
			if s != mine {
				b.turns = append(b.turns, s)
			}
		}
	}()
	err := b.forward(group)
	if err != nil {
		b.joint.release()
	}
	switch {
	case errors.Is(err, context.Canceled):
		return
	case errors.Is(err, device.ErrOutOfMemory):
		b.mu.Lock()
		b.fits = max(len(group)/2, 1)
		b.mu.Unlock()
		return
	}
	for _, s := range group {
		s.ask.done, s.ask.err = true, err
	}
}

// forward evaluates a group, whose sets are all off.
func (b *Batch) forward(group []*Seat) error {
	ctx, done := whoever(group)
	defer done()
	var sides []lora.Side
	for _, s := range group {
		n := s.ask.in.T.Dim(0)
		sides = append(sides, lora.Side{Samples: n, Mounted: s.mounted})
	}
	defer lora.Beside(sides)()
	return autodiff.Run(ctx, b.pool, func(p *autodiff.Pass) error {
		j := &b.joint
		if !j.is(group) {
			j.join(p, group)
		}
		cond := unet.Condition{Context: j.context, Kept: &j.kept, Pooled: j.pooled, TimeIDs: j.timeIDs}
		var ins []*tensor.Tensor
		for _, s := range group {
			cond.Timesteps = append(cond.Timesteps, s.ask.cond.Timesteps...)
			ins = append(ins, s.ask.in.T)
		}
		in := autodiff.Constant(stack(p, ins))
		out, err := group[0].ask.net.Forward(p, in, cond)
		in.Release()
		if err != nil {
			return err
		}
		defer out.Release()
		at := 0
		for _, s := range group {
			n := s.ask.out.Len()
			p.Device().Copy(s.ask.out.Data, out.T.Data.Slice(at, n))
			at += n
		}
		return nil
	})
}

// whoever is a context that ends when all of the seats' have ended.
func whoever(group []*Seat) (ctx context.Context, done func()) {
	ctx, cancel := context.WithCancel(context.Background())
	left := new(atomic.Int64)
	left.Store(int64(len(group)))
	var stops []func() bool
	for _, s := range group {
		stops = append(stops, context.AfterFunc(s.ctx, func() {
			if left.Add(-1) == 0 {
				cancel()
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}
