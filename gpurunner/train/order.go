package train

import (
	"slices"

	"github.com/lowrank/lowrank/gpurunner/dataset"
)

// order says which pictures a step sees: every epoch is a fresh permutation,
// cut into batches. Pictures of different sizes (aspect buckets) never share a
// batch; a short rest of a size goes on into the next epoch's pictures of it.
type order struct {
	src   source
	batch int
	sizes []dataset.Size // of the pictures
	made  map[Phase]*dealt
}

// dealt is the batches of a phase so far.
type dealt struct {
	epoch   int
	batches [][]int
	waiting map[dataset.Size][]int
}

func newOrder(src source, set *dataset.Set, batch int) *order {
	o := &order{src: src, batch: batch, made: map[Phase]*dealt{}}
	for i := range set.Pictures {
		o.sizes = append(o.sizes, set.Pictures[i].Size())
	}
	return o
}

// at returns the pictures of a step: a function of the seed and the step alone.
func (o *order) at(p Phase, step int) []int {
	d := o.made[p]
	if d == nil {
		d = &dealt{waiting: map[dataset.Size][]int{}}
		o.made[p] = d
	}
	for len(d.batches) <= step {
		for _, i := range o.src.at(p, streamOrder, d.epoch, 0).Perm(len(o.sizes)) {
			s := o.sizes[i]
			d.waiting[s] = append(d.waiting[s], i)
			if len(d.waiting[s]) == o.batch {
				d.batches = append(d.batches, slices.Clone(d.waiting[s]))
				d.waiting[s] = nil
			}
		}
		d.epoch++
	}
	return d.batches[step]
}
