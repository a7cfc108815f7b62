package lora

import "github.com/lowrank/lowrank/gpurunner/autodiff"

// On fills the slots again after Off. On nil both do nothing.
func (m *Mounted) On() {
	if m == nil {
		return
	}
	for i, slot := range m.slots {
		*slot = m.adapters[i]
	}
}

// Off empties the slots for a while, in which others may be mounted.
func (m *Mounted) Off() {
	if m == nil {
		return
	}
	for _, slot := range m.slots {
		*slot = nil
	}
}

// Side is what belongs to so many samples of a batch: sets that are off, or nil
// for the bare base.
type Side struct {
	Samples int
	Mounted *Mounted
}

// Beside fills the slots for a batch whose samples belong to several, in this
// order: each sample is adapted by its own sets alone. off empties the slots.
func Beside(sides []Side) (off func()) {
	all := map[**autodiff.Adapter]*autodiff.Adapter{}
	before := 0 // samples of the sides before
	for _, side := range sides {
		if side.Mounted != nil {
			for i, slot := range side.Mounted.slots {
				ad := all[slot]
				if ad == nil {
					ad = new(autodiff.Adapter)
					all[slot] = ad
				}
				ad.Shares = append(bare(ad.Shares, before), autodiff.Share{Samples: side.Samples, Adapter: side.Mounted.adapters[i]})
			}
		}
		before += side.Samples
	}
	for slot, ad := range all {
		ad.Shares = bare(ad.Shares, before)
		*slot = ad
	}
	return func() {
		for slot := range all {
			*slot = nil
		}
	}
}

// bare appends the samples up to number n that have no adapter, as one share.
func bare(shares []autodiff.Share, n int) []autodiff.Share {
	for _, s := range shares {
		n -= s.Samples
	}
	if n > 0 {
		shares = append(shares, autodiff.Share{Samples: n})
	}
	return shares
}
