package main

import (
	"sync"
	"time"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/device/cpu/kernel"
)

// peak measures the most floating-point operations a second that the kernels'
// instruction set reaches on registers alone, on so many threads at once: two
// virtual processors may be one core.
func peak(threads int, run func() (flops int)) float64 {
	best := 0.0
	for range 5 {
		var wg sync.WaitGroup
		begin := time.Now()
		total := 0
		var mu sync.Mutex
		for range threads {
			wg.Add(1)
			go func() {
				defer wg.Done()
				flops := 0
				for range 20 {
					flops += run()
				}
				mu.Lock()
				total += flops
				mu.Unlock()
			}()
		}
		wg.Wait()
		best = max(best, float64(total)/time.Since(begin).Seconds())
	}
	return best
}

func f32Peak() int { return kernel.Best().Peak(100000) }

// peakOf is the machine's peak in a precision, measured when first asked for.
func (b *bench) peakOf(precision device.DType) float64 {
	if precision == device.F32 {
		return b.peak
	}
	if b.peakBF16 == 0 {
		p := kernel.LookupPairs("")
		b.peakBF16 = peak(b.threads, func() int { return p.Peak(50000) })
	}
	return b.peakBF16
}
