package worker

import (
	"context"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/predictions"
)

// shift is a loop at work: the jobs that run, and the one that comes next.
//
// While a job runs, the loop asks the queue for more if another could run beside
// it. What comes and may, begins at once; what may not waits here, its message
// leased, until those that run have ended: it would have been next anyway. Nobody
// waits for others to come.
type shift struct {
	*Loop
	queue infra.Queue
	store *predictions.Store

	running []events.Job
	ended   chan ending
	arrived chan []infra.Message
	asking  bool     // a Receive is under way
	next    *arrival // not begun
}

// arrival is a message and what is known of its job.
type arrival struct {
	message  infra.Message
	job      events.Job
	known    bool // job is the record
	extended time.Time
}

// ending is a job that has ended; err ends the loop.
type ending struct {
	id  events.JobID
	err error
}

func newShift(l *Loop) *shift {
	store := predictions.New(l.Ports)
	store.Runner = l.Name
	return &shift{Loop: l, queue: l.Ports.Queues.Queue(l.Queue), store: store,
		ended: make(chan ending), arrived: make(chan []infra.Message)}
}

func (s *shift) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var fatal error
	for {
		if ctx.Err() == nil && s.next != nil && s.fits(s.next) {
			s.begin(ctx, s.next)
			s.next = nil
		}
		if ctx.Err() == nil && !s.asking && s.next == nil && s.hasRoom() {
			s.asking = true
			go s.ask(ctx)
		}
		if ctx.Err() != nil && !s.asking && len(s.running) == 0 {
			break
		}
		var beat <-chan time.Time
		if ctx.Err() == nil && (s.next != nil || !s.asking) { // what Together says may have changed
			beat = s.Ports.Clock.After(s.Beat)
		}
		select {
		case messages := <-s.arrived:
			s.asking = false
			for _, m := range messages { // one at most
				s.next = s.look(ctx, m)
			}
		case e := <-s.ended:
			s.running = without(s.running, e.id)
			if e.err != nil && fatal == nil {
				fatal = e.err
				stop() // the others' work is lost with the device
			}
		case <-beat:
			s.keep(ctx)
		}
	}
	if s.next != nil {
		s.giveUp(ctx)
	}
	return fatal
}

// hasRoom reports whether another job could begin now.
func (s *shift) hasRoom() bool {
	switch {
	case len(s.running) == 0:
		return true
	case s.Together == nil || len(s.running) >= s.Most:
		return false
	}
	// One that runs with no other, not even its like, lets none in.
	return !troubled(s.running[0]) && s.Together(s.running[0], s.running[0])
}

// fits reports whether a job may begin beside those that run.
func (s *shift) fits(a *arrival) bool {
	if len(s.running) == 0 {
		return true
	}
	return s.hasRoom() && a.known && a.message.Receives < 2 && !troubled(a.job) && s.Together(s.running[0], a.job)
}

// troubled reports whether a job may have taken down a runner: should it do so
// again, no others' jobs are to fall with it.
func troubled(j events.Job) bool { return j.Crashes > 0 || j.Lease != nil }

// ask receives one message. What it waits for after ctx has ended comes back.
func (s *shift) ask(ctx context.Context) {
	messages, err := s.queue.Receive(ctx, 1, longPoll, s.visibility())
	if err != nil && ctx.Err() == nil {
		s.Log.Warn("receive", "queue", s.Queue, "err", err)
		s.pause(ctx, s.Beat)
	}
	s.arrived <- messages
}

// look finds a message's job, as far as that is needed to tell whether it may run
// beside others.
func (s *shift) look(ctx context.Context, m infra.Message) *arrival {
	a := &arrival{message: m, extended: s.now()}
	if s.Together == nil {
		return a
	}
	msg, err := events.ParseRunJob(m.Body)
	if err != nil {
		return a // handle says so
	}
	if job, err := s.store.Load(ctx, msg.ID); err == nil {
		a.job, a.known = job, true
	}
	return a
}

// begin handles a message.
func (s *shift) begin(ctx context.Context, a *arrival) {
	if !a.known {
		a.job.ID = events.JobID(a.message.ID) // of this message, which is all that is known
	}
	if a.message.Receives > 1 {
		a.job.Crashes = max(a.job.Crashes, 1)
	}
	s.running = append(s.running, a.job)
	go func() {
		err := s.handle(ctx, s.queue, s.store, a.message)
		s.ended <- ending{a.job.ID, err}
	}()
}

// keep holds the lease of a message that waits here.
func (s *shift) keep(ctx context.Context) {
	a := s.next
	if a == nil || s.now().Sub(a.extended) < s.Lease/3 {
		return
	}
	if err := s.queue.Extend(ctx, a.message.Receipt, s.visibility()); err != nil && ctx.Err() == nil {
		// If the lease is lost the message is with another runner, and the job's
		// record says so when it begins here.
		s.Log.Warn("extend", "queue", s.Queue, "message", a.message.ID, "err", err)
	}
	a.extended = s.now()
}

// giveUp hands back the message that waits here, as a fresh one.
func (s *shift) giveUp(ctx context.Context) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.queue.Send(last, s.next.message.Body, 0); err != nil {
		s.Log.Warn("a message that was not begun comes again when its lease is over", "queue", s.Queue, "message", s.next.message.ID, "err", err)
		return
	}
	s.ack(last, s.queue, s.next.message)
}

func without(jobs []events.Job, id events.JobID) []events.Job {
	for i := range jobs {
		if jobs[i].ID == id {
			return append(jobs[:i:i], jobs[i+1:]...)
		}
	}
	return jobs
}
