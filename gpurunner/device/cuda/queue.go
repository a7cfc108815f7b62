//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/cu"

	"github.com/lowrank/lowrank/gpurunner/device"
)

// queue holds work back for a moment, so that work that came before goes to the
// GPU in one call. It is cut into chunks of up to chunkOps operations, at every
// Step and wherever something is waited for. A chunk that comes a second time,
// with the same kernels and the same arguments, is captured as a CUDA graph, and
// from then on that is launched in its place: a step of training or of sampling,
// which takes the same memory every time, goes in a dozen calls rather than
// thousands. As only equal work is ever replayed, nothing above has to know.
//
// Bytes on their way to the GPU are not compared: they lie in page-locked memory
// of the chunk, from where each replay copies what is there now.
type queue struct {
	words []uint64 // the operations, encoded: see the kinds
	data  []byte   // of uploads, in order
	ops   int

	chunks map[uint64][]*chunk // by hash
	count  int
	now    int64
	off    bool // capture failed once: everything is launched one by one

	note          string // why it is off
	captured      int    // chunks
	replayed, all int    // operations
}

// chunk is work that was seen before.
type chunk struct {
	words  []uint64
	graph  *graph // nil until it is seen again
	pinned []byte // what the graph's uploads read
	read   event  // when the last replay has read it
	used   int64
}

const (
	chunkOps    = 256
	leastOps    = 8 // of a chunk worth a graph
	mostChunks  = 512
	mostUpload  = 1 << 20 // bytes; larger ones go directly
	mostWaiting = 4 << 20 // bytes of uploads in a chunk
)

// The kinds of operations: the lowest byte of an operation's first word.
const (
	opLaunch = iota + 1 // function<<16 | arguments<<8, grid x, y<<32|z, threads<<32|shared, arguments…
	opCopy              // to, from, bytes
	opFill16            // to, value, elements
	opFill32
	opUpload // to, bytes
)

// Replays tells which share of all operations was replayed; note says why none
// is, where the driver refuses.
func (d *Device) Replays() (share float64, note string) {
	return float64(d.queue.replayed) / float64(max(d.queue.all, 1)), d.queue.note
}

// Step implements device.Stepper.
func (d *Device) Step() { d.flush() }

// note adds an operation to the queue.
func (d *Device) note(words ...uint64) {
	q := &d.queue
	q.words = append(q.words, words...)
	q.ops++
	if q.ops == chunkOps || d.options.Direct {
		d.flush()
	}
}

func (d *Device) noteLaunch(f *function, g grid, threads, shared int, args []arg) {
	q := &d.queue
	q.words = append(q.words, opLaunch|uint64(len(args))<<8|uint64(f.number)<<16, uint64(g.x), uint64(g.y)<<32|uint64(g.z), uint64(threads)<<32|uint64(shared))
	for _, a := range args {
		q.words = append(q.words, a.bits)
	}
	d.note()
}

func (d *Device) noteUpload(dst uint64, host []byte) {
	q := &d.queue
	if len(q.data)+len(host) > mostWaiting {
		d.flush()
	}
	q.data = append(q.data, host...)
	d.note(opUpload, dst, uint64(len(host)))
}

// flush sends what waits to the GPU.
func (d *Device) flush() {
	q := &d.queue
	if q.ops == 0 {
		return
	}
	q.all += q.ops
	if err := d.send(); err != nil {
		d.lose(err)
	}
	q.words, q.data, q.ops = q.words[:0], q.data[:0], 0
}

func (d *Device) send() error {
	q := &d.queue
	upload := func(to uint64, n int) error {
		from := q.data[:n]
		q.data = q.data[n:]
		return d.stage.up(&d.driver, to, from)
	}
	if d.options.Direct || q.off || q.ops < leastOps {
		return d.issue(q.words, upload)
	}
	q.now++
	c := q.find()
	c.used = q.now
	if c.words == nil { // seen for the first time
		c.words = slices.Clone(q.words)
		if q.count > mostChunks {
			d.evict(mostChunks)
		}
		return d.issue(q.words, upload)
	}
	if c.graph == nil {
		if err := d.capture(c); err != nil {
			q.stop(err)
			return d.issue(q.words, upload)
		}
		q.captured++
	}
	err := d.replay(c)
	if errors.Is(err, device.ErrOutOfMemory) { // graphs take some of the GPU's
		d.evict(0)
		q.stop(err)
		return d.issue(q.words, upload)
	}
	return err
}

// stop ends replaying for good.
func (q *queue) stop(why error) { q.off, q.note = true, fmt.Sprintf("steps are not replayed: %v", why) }

// find returns the chunk that equals what waits, or a new one without words.
func (q *queue) find() *chunk {
	hash := uint64(14695981039346656037) // FNV-1a, a word at a time
	for _, w := range q.words {
		hash = (hash ^ w ^ w>>32) * 1099511628211
	}
	for _, c := range q.chunks[hash] {
		if slices.Equal(c.words, q.words) {
			return c
		}
	}
	if q.chunks == nil {
		q.chunks = map[uint64][]*chunk{}
	}
	c := &chunk{}
	q.chunks[hash] = append(q.chunks[hash], c)
	q.count++
	return c
}

// evict drops the chunks that were not used for longest.
func (d *Device) evict(keep int) {
	q := &d.queue
	if q.count <= keep {
		return
	}
	var ages []int64
	for _, list := range q.chunks {
		for _, c := range list {
			ages = append(ages, c.used)
		}
	}
	slices.Sort(ages)
	oldest := ages[len(ages)-keep/2-1]
	for hash, list := range q.chunks {
		list = slices.DeleteFunc(list, func(c *chunk) bool {
			if c.used > oldest {
				return false
			}
			d.drop(c)
			q.count--
			return true
		})
		if len(list) == 0 {
			delete(q.chunks, hash)
		} else {
			q.chunks[hash] = list
		}
	}
}

func (d *Device) drop(c *chunk) {
	if c.graph != nil {
		d.driver.destroyGraph(c.graph)
	}
	if c.pinned != nil {
		_ = d.driver.wait(c.read) // the GPU may be reading; a failure comes out of Sync
		d.driver.freePinned(c.pinned)
		d.driver.destroyEvent(c.read)
	}
}

// capture makes the graph of a chunk.
func (d *Device) capture(c *chunk) (err error) {
	if n := len(d.queue.data); n > 0 {
		if c.pinned, err = d.driver.pinned(n); err != nil {
			return err
		}
		if c.read, err = d.driver.newEvent(); err != nil {
			d.driver.freePinned(c.pinned)
			c.pinned = nil
			return err
		}
	}
	if err := d.driver.beginCapture(); err != nil {
		return err
	}
	at := 0
	err = d.issue(c.words, func(to uint64, n int) error {
		at += n
		return d.stage.copyUp(&d.driver, to, c.pinned[at-n:at])
	})
	g, endErr := d.driver.endCapture()
	if err == nil {
		err = endErr
	}
	if err == nil {
		c.graph = g
	} else if g != nil {
		d.driver.destroyGraph(g)
	}
	return err
}

func (d *Device) replay(c *chunk) error {
	q := &d.queue
	if len(q.data) > 0 {
		if err := d.driver.wait(c.read); err != nil { // a fresh event has passed
			return err
		}
		copy(c.pinned, q.data)
	}
	if err := d.driver.launchGraph(c.graph); err != nil {
		return err
	}
	q.replayed += q.ops
	if len(q.data) > 0 {
		return d.driver.record(c.read)
	}
	return nil
}

// issue makes the driver's calls for encoded operations; upload those that bring
// bytes.
func (d *Device) issue(w []uint64, upload func(to uint64, n int) error) error {
	defer d.driver.enter()()
	stream := d.driver.stream
	for len(w) > 0 {
		var err error
		what, n := "", 4
		switch w[0] & 0xff {
		case opLaunch:
			f, count := d.library.loadedFunctions[w[0]>>16], int(w[0]>>8&0xff)
			n += count
			copy(d.slots.values[:], w[4:n])
			what = "launch of kernel " + f.name
			err = f.fn.Launch(int(w[1]), int(w[2]>>32), int(uint32(w[2])), int(w[3]>>32), 1, 1, int(uint32(w[3])), stream, d.slots.addresses[:count])
		case opCopy:
			what = "copy"
			err = cu.MemcpyDtoDAsync(cu.DevicePtr(w[1]), cu.DevicePtr(w[2]), int64(w[3]), stream)
		case opFill16:
			what = "fill"
			err = cu.MemsetD16Async(cu.DevicePtr(w[1]), uint16(w[2]), int64(w[3]), stream)
		case opFill32:
			what = "fill"
			err = cu.MemsetD32Async(cu.DevicePtr(w[1]), uint(w[2]), int64(w[3]), stream)
		case opUpload:
			n = 3
			if err := upload(w[1], int(w[2])); err != nil {
				return err
			}
		default:
			panic(fmt.Sprintf("cuda: operation %#x in the queue", w[0]))
		}
		if err != nil {
			return explain(what, err)
		}
		w = w[n:]
	}
	return nil
}

// direct gives memory back to the driver once nothing uses it: neither what waits,
// nor what the GPU still does, nor a graph, which names it for as long as it lives.
type direct struct{ d *Device }

func (s direct) reserve(size int) (uint64, error) { return s.d.driver.reserve(size) }

func (s direct) giveBack(address uint64) {
	s.d.flush()
	if !s.d.options.Direct {
		s.d.evict(0)
		_ = s.d.driver.synchronize() // a failure comes out of Sync
	}
	s.d.driver.giveBack(address)
}
