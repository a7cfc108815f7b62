package generate

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// Batch is where drawings of several users meet that run at the same time on one
// device: each in a goroutine and with a [Seat] of its own, one at a time having
// its turn at the device. A drawing that comes to an evaluation of the UNet gives
// its turn away; when no other can go on without its answer, all that wait are
// evaluated in one pass, every sample with its own concepts. So one that draws
// alone waits for nobody, and one may come or go between any two evaluations.
//
// Each picture has the bytes that it has alone: see device.Separate.
type Batch struct {
	dev  device.Device
	most int

	mu    sync.Mutex // guards what follows
	busy  bool       // somebody has the turn
	seats []*Seat
	turns []*Seat // wait for their turn, first come first served
	asked []*Seat // wait for an evaluation
	next  uint64  // number of the next seat
	fits  int     // how many at once the memory was enough for
	lone  []*Seat // wait until the others have left, see Alone
	solo  *Seat   // one of these while it draws
	late  []*Seat // came while there were such: they get their seats afterwards

	// Of whoever has the turn.
	pool  *tensor.Pool
	joint joint
}

// NewBatch returns a Batch of a device on which at most so many are evaluated at
// once: one, where the device's results depend on how many there are.
func NewBatch(dev device.Device, most int) *Batch {
	if s, ok := dev.(device.Separate); !ok || !s.Separate() {
		most = 1
	}
	b := &Batch{dev: dev, most: max(most, 1), pool: tensor.NewPool(dev)}
	b.fits = b.most
	return b
}

// Most is how many are evaluated at once at most.
func (b *Batch) Most() int { return b.most }

// Seat is one drawing's place in a Batch. A nil Seat is that of a drawing which is
// in none; its methods do nothing.
type Seat struct {
	b       *Batch
	ctx     context.Context
	number  uint64
	turn    chan struct{}   // gets the turn
	bound   context.Context // what the device is bound to in this seat's turn
	mounted *lora.Mounted   // in the layers' slots during this seat's turn
	ask     *evaluation
	shared  int // evaluations with others so far
}

// Enter waits for a turn at the device. Its error is that of ctx, whose end means
// that the drawing is not wanted any more: an evaluation is broken off only when
// that is true for all in it.
func (b *Batch) Enter(ctx context.Context) (*Seat, error) {
	s := &Seat{b: b, ctx: ctx, turn: make(chan struct{}, 1), bound: context.Background()}
	b.mu.Lock()
	s.number = b.next
	b.next++
	if b.solo != nil || len(b.lone) > 0 {
		b.late = append(b.late, s)
	} else {
		b.admit(s)
	}
	b.mu.Unlock()
	select {
	case <-s.turn:
		s.back()
		return s, nil
	case <-ctx.Done():
	}
	b.mu.Lock()
	gone := without(&b.late, s)
	if !gone && without(&b.turns, s) {
		gone = true
		b.remove(s)
	}
	b.mu.Unlock()
	if !gone { // the turn came just then
		<-s.turn
		s.Leave()
	}
	return nil, ctx.Err()
}

// admit gives a seat. b.mu is held, as in the next ones.
func (b *Batch) admit(s *Seat) {
	b.seats = append(b.seats, s)
	b.ready(s)
}

// ready lets a seat wait for its turn.
func (b *Batch) ready(s *Seat) {
	b.turns = append(b.turns, s)
	if !b.busy {
		b.pass()
	}
}

// without takes a seat out of a list, and reports whether it was there.
func without(list *[]*Seat, s *Seat) bool {
	i := slices.Index(*list, s)
	if i >= 0 {
		*list = slices.Delete(*list, i, i+1)
	}
	return i >= 0
}

// Pause gives the turn away for work that does not touch the device: fetching,
// storing. Nobody waits for the drawing meanwhile. Resume must follow.
func (s *Seat) Pause() {
	if s == nil {
		return
	}
	s.mounted.Off()
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.pass()
}

// Resume waits for a turn, also after the end of the seat's context: what a
// drawing holds is given back in its turn.
func (s *Seat) Resume() {
	if s == nil {
		return
	}
	s.b.mu.Lock()
	s.b.ready(s)
	s.b.mu.Unlock()
	<-s.turn
	s.back()
}

// Alone waits until the others have left, and lets nobody in before this one has:
// for a drawing to which they left too little memory. It reports whether there
// was anybody.
func (s *Seat) Alone() bool {
	if s == nil {
		return false
	}
	b := s.b
	b.mu.Lock()
	if len(b.seats) < 2 || b.solo == s {
		b.mu.Unlock()
		return false
	}
	b.mu.Unlock()
	s.forget()
	s.mounted.Off()
	b.mu.Lock()
	b.lone = append(b.lone, s)
	b.single()
	b.pass()
	b.mu.Unlock()
	s.await(&b.lone)
	s.back()
	return true
}

// await waits for the turn that a place in a list leads to. Once the seat's
// context has ended it leaves the list and waits for any turn.
func (s *Seat) await(list *[]*Seat) {
	b := s.b
	select {
	case <-s.turn:
		return
	case <-s.ctx.Done():
	}
	b.mu.Lock()
	if len(s.turn) == 0 && without(list, s) {
		b.ready(s)
		b.single()
		b.welcome()
	}
	b.mu.Unlock()
	<-s.turn
}

// single lets the first of those who want to be alone draw, once all that are left
// are such.
func (b *Batch) single() {
	if b.solo == nil && len(b.lone) > 0 && len(b.lone) == len(b.seats) {
		b.solo = b.lone[0]
		b.lone = b.lone[1:]
		b.ready(b.solo)
	}
}

// Leave ends the seat, in its turn.
func (s *Seat) Leave() {
	if s == nil {
		return
	}
	b := s.b
	s.forget()
	s.mounted.Off()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.remove(s)
	b.pass()
}

// remove takes a seat away.
func (b *Batch) remove(s *Seat) {
	without(&b.seats, s)
	if len(b.seats) == 0 {
		b.fits = b.most // the next ones may be smaller
	}
	if b.solo == s {
		b.solo = nil
	}
	b.single()
	b.welcome()
}

// welcome gives those their seats who came late, once nobody wants to be alone.
func (b *Batch) welcome() {
	if b.solo != nil || len(b.lone) > 0 {
		return
	}
	for _, o := range b.late {
		b.admit(o)
	}
	b.late = nil
}

// pass gives the turn to whoever can go on, and when nobody can, to one of those
// who wait for an evaluation: it is to be made.
func (b *Batch) pass() {
	switch {
	case len(b.turns) > 0:
		s := b.turns[0]
		b.turns = b.turns[1:]
		b.busy = true
		s.turn <- struct{}{}
	case len(b.asked) > 0:
		b.busy = true
		b.asked[0].turn <- struct{}{}
	default:
		b.busy = false
	}
}

// back brings the device and the layers into the state of the seat's turn.
func (s *Seat) back() {
	s.b.dev.Bind(s.bound)
	s.mounted.On()
}

// bind tells what the device is bound to in the seat's turns from here on.
func (s *Seat) bind(ctx context.Context) {
	if s != nil {
		s.bound = ctx
	}
}

// wears tells what is in the layers' slots in the seat's turns from here on.
func (s *Seat) wears(c *Concepts) {
	if s == nil {
		return
	}
	s.mounted = nil
	if c != nil {
		s.mounted = c.mounted
	}
}

// forget gives back what evaluations with the seat have shared.
func (s *Seat) forget() {
	if slices.Contains(s.b.joint.seats, s) {
		s.b.joint.release()
	}
}

// evaluate predicts noise or velocity for a drawing's samples, in one pass with
// those of others who wait for theirs.
func (s *Seat) evaluate(p *autodiff.Pass, e evaluation) (*autodiff.Value, error) {
	if s == nil || !s.others() {
		return e.run(p)
	}
	e.out = p.Pool.New(device.F32, e.in.T.Dim(0), e.in.T.Dim(1), e.in.T.Dim(2), e.net.Config.OutChannels)
	s.ask = &e
	defer func() { s.ask = nil }()
	group := s.wait()
	if len(group) > 1 {
		s.b.together(group, s)
	}
	s.back()
	switch {
	case e.done && e.err == nil:
		s.shared++
		return autodiff.Constant(e.out), nil
	case e.done:
		e.out.Release()
		return nil, e.err
	}
	e.out.Release()
	return e.run(p)
}

// others reports whether anybody waits for the turn or an evaluation.
func (s *Seat) others() bool {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	return s.b.most > 1 && len(s.b.turns)+len(s.b.asked) > 0
}

// wait gives the turn away until the evaluation was made, or is to be made by this
// seat for a group, or its context has ended.
func (s *Seat) wait() (group []*Seat) {
	b := s.b
	s.mounted.Off()
	b.mu.Lock()
	b.asked = append(b.asked, s)
	b.pass()
	b.mu.Unlock()
	s.await(&b.asked)
	b.mu.Lock()
	defer b.mu.Unlock()
	if !slices.Contains(b.asked, s) {
		return nil
	}
	group = []*Seat{s}
	for _, o := range b.asked {
		if o != s && len(group) < b.fits && o.ask.fits(s.ask) {
			group = append(group, o)
		}
	}
	b.asked = slices.DeleteFunc(b.asked, func(o *Seat) bool { return slices.Contains(group, o) })
	// The same drawings are the same batch, whoever asked first.
	slices.SortFunc(group, func(x, y *Seat) int { return cmp.Compare(x.number, y.number) })
	return group
}
