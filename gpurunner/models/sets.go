package models

import (
	"slices"

	"github.com/lowrank/lowrank/gpurunner/lora"
)

// maxSets is how many concepts stay on the device.
const maxSets = 32

// setCache keeps the concepts that were used last, by the content of their
// files, and those that are used now.
type setCache struct {
	max  int
	sets map[[32]byte]*cachedSet
	used [][32]byte // oldest first
}

type cachedSet struct {
	set   *lora.Set
	users int
}

func newSetCache(most int) *setCache {
	return &setCache{max: most, sets: map[[32]byte]*cachedSet{}}
}

// use returns the concept with a content, reading it if it is not there. It stays
// until it was dropped as often as it was used, and then while there is room.
func (c *setCache) use(sum [32]byte, read func() (*lora.Set, error)) (*lora.Set, error) {
	s := c.sets[sum]
	if s == nil {
		set, err := read()
		if err != nil {
			return nil, err
		}
		s = &cachedSet{set: set}
		c.sets[sum] = s
	} else {
		i := slices.Index(c.used, sum)
		c.used = slices.Delete(c.used, i, i+1)
	}
	c.used = append(c.used, sum)
	s.users++
	c.shrink()
	return s.set, nil
}

// drop ends a use of each of some concepts.
func (c *setCache) drop(sums [][32]byte) {
	for _, sum := range sums {
		if s := c.sets[sum]; s != nil {
			s.users--
		}
	}
	c.shrink()
}

// shrink unloads the oldest of those that nobody uses.
func (c *setCache) shrink() {
	c.used = slices.DeleteFunc(c.used, func(sum [32]byte) bool {
		s := c.sets[sum]
		if len(c.sets) <= c.max || s.users > 0 {
			return false
		}
		s.set.Unload()
		delete(c.sets, sum)
		return true
	})
}

func (c *setCache) clear() {
	for _, s := range c.sets {
		s.set.Unload()
	}
	c.sets, c.used = map[[32]byte]*cachedSet{}, nil
}
