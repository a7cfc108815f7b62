package models

import (
	"slices"

	"github.com/lowrank/lowrank/gpurunner/lora"
)

// maxSets is how many concepts stay on the device.
const maxSets = 32

// setCache keeps the concepts that were used last, by the content of their
// files.
type setCache struct {
	max  int
	sets map[[32]byte]*lora.Set
	used [][32]byte // oldest first
}

func newSetCache(most int) *setCache {
	return &setCache{max: most, sets: map[[32]byte]*lora.Set{}}
}

// get returns the concept with a content, reading it if it is not there.
func (c *setCache) get(sum [32]byte, read func() (*lora.Set, error)) (*lora.Set, error) {
	if i := slices.Index(c.used, sum); i >= 0 {
		c.used = append(slices.Delete(c.used, i, i+1), sum)
		return c.sets[sum], nil
	}
	set, err := read()
	if err != nil {
		return nil, err
	}
	for len(c.used) >= c.max {
		c.sets[c.used[0]].Unload()
		delete(c.sets, c.used[0])
		c.used = c.used[1:]
	}
	c.sets[sum] = set
	c.used = append(c.used, sum)
	return set, nil
}

func (c *setCache) clear() {
	for _, s := range c.sets {
		s.Unload()
	}
	c.sets, c.used = map[[32]byte]*lora.Set{}, nil
}
