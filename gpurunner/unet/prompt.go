package unet

import "github.com/lowrank/lowrank/gpurunner/autodiff"

// Kept holds keys and values of the cross-attention to a prompt from one
// evaluation to the next: they depend on prompt, weights and adapters alone, not
// on the sample. Use one for as long as none of these changes, in passes without
// a tape. The zero value is ready for use; nil keeps nothing.
type Kept struct {
	of map[*Attention]keysValues
}

type keysValues struct{ k, v *autodiff.Value }

// keysValues projects context [N,S,D], or returns what is kept of it; the caller
// releases both.
func (a *Attention) keysValues(p *autodiff.Pass, context *autodiff.Value, kept *Kept) (k, v *autodiff.Value) {
	if kept == nil || p.Recording() {
		return a.K.Forward(p, context), a.V.Forward(p, context)
	}
	kv, ok := kept.of[a]
	if !ok {
		kv = keysValues{a.K.Forward(p, context), a.V.Forward(p, context)}
		if kept.of == nil {
			kept.of = map[*Attention]keysValues{}
		}
		kept.of[a] = kv
	}
	return kv.k.Retain(), kv.v.Retain()
}

// Release gives up what is kept. Releasing nil does nothing.
func (k *Kept) Release() {
	if k == nil {
		return
	}
	for _, kv := range k.of {
		kv.k.Release()
		kv.v.Release()
	}
	k.of = nil
}
