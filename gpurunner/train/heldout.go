package train

import "context"

// heldOut measures the loss on pictures that are not trained on: each under the
// same noise at the same timesteps every time, so that two measurements differ
// by what was learnt alone.
type heldOut struct{ feed *feed }

// heldOutLevels are the noise levels of a validation, as parts of the whole.
var heldOutLevels = []float64{0.125, 0.375, 0.625, 0.875}

// validate measures where a measurement is due and the curve does not have it
// yet. Nothing is dropped out meanwhile: that is the caller's business.
func (r *run) validate(ctx context.Context) error {
	if r.held == nil || r.done == 0 || (r.done%r.Options.ValidationEvery != 0 && r.done != r.steps(r.phase)) {
		return nil
	}
	last := &r.curve[len(r.curve)-1]
	if last.Validated {
		return nil
	}
	f := r.held.feed
	total := f.model.Scheduler.TrainTimesteps
	sum, n := 0.0, 0
	for i := range f.data.Pictures {
		p := &f.data.Pictures[i]
		for k, level := range heldOutLevels {
			s := sample{set: f.data, index: i, picture: p, weight: 1, key: view{f.data, i, false, p.Size()}}
			s.look.Image, s.look.Mask = p.Image, p.Mask
			s.prompt = f.captions.prompt(p, func(int) int { return 0 })
			b, err := f.assemble(ctx, validation, i*len(heldOutLevels)+k, []sample{s}, []int{int(level * float64(total))})
			if err != nil {
				return err
			}
			losses, err := r.step.Run(ctx, b, 0)
			b.Release()
			if err != nil {
				return err
			}
			sum, n = sum+losses[0], n+1
		}
	}
	last.Validation, last.Validated = sum/float64(n), true
	return nil
}
