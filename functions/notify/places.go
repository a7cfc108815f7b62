package notify

import (
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// How many deliveries one process makes at once. Each is a goroutine and a connection that mostly wait.
const (
	deliverers     = 128
	ownerPlaces    = 8 // of them for one owner: 16 owners whose receivers are all slow fill them
	receiverPlaces = 4 // for one owner at one host
	latePlaces     = 2 // there, for lateFor after it did not answer in time
	lateFor        = 30 * time.Second
)

// What waits for a place waits in memory, and as a message that comes back should this process end before.
const (
	maxWaiting   = 1000                  // of one owner in memory; more wait as messages alone
	comesBack    = 15 * time.Second      // a message comes back after this at the soonest,
	comesBackGap = 25 * time.Millisecond // and this after the owner's last: 40 a second, whatever waits
	busComesBack = time.Second           // announcements, which wait as messages alone
)

// receiver is who is told: a host with its port, for one owner. The zero one is the bus of announcements.
type receiver struct {
	owner events.Owner
	host  string
}

func receiverOf(j *events.Job) receiver {
	r := receiver{owner: j.Owner}
	if u, err := url.Parse(j.Webhook.URL); err == nil {
		r.host = strings.ToLower(u.Host)
	}
	return r
}

// turn is a message to act on and who it is for.
type turn struct {
	receiver
	message events.Deliver
}

// places bounds what one process delivers at once for one owner and to one receiver. It keeps no goroutine
// for what has to wait: who leaves a place hands it to the owner's first that may have it.
type places struct {
	mu     sync.Mutex
	owners map[events.Owner]*ownerState
}

type ownerState struct {
	busy    int
	hosts   map[string]*hostState
	waiting []waiter  // first come, first served, but for who enters while a place is free
	back    time.Time // when the last message that was sent back comes
}

type hostState struct {
	busy      int
	lateUntil time.Time
}

// waiter is a turn that has no place yet, and until when its message surely does not come.
type waiter struct {
	turn
	until time.Time
}

// enter takes a place for t. When there is none t waits for one (see leave), and if again is not 0 a message must
// be sent that comes after again, or else t withdrawn. again is 0 when such a message is on its way.
func (p *places) enter(t turn, now time.Time) (ok bool, again time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owner(t.owner)
	at := o.find(t)
	if o.room(t.host, now) {
		if at >= 0 {
			o.waiting = slices.Delete(o.waiting, at, at+1)
		}
		o.take(t.host)
		return true, 0
	}
	if t.receiver == (receiver{}) {
		return false, busComesBack // not in memory: nothing notes that it was published, and the message would do it twice
	}
	if at >= 0 && now.Before(o.waiting[at].until) {
		return false, 0
	}
	if o.back = o.back.Add(comesBackGap); o.back.Before(now.Add(comesBack)) {
		o.back = now.Add(comesBack)
	}
	again = min(o.back.Sub(now), infra.MaxDelay)
	switch {
	case at >= 0:
		o.waiting[at].until = now.Add(again)
	case len(o.waiting) < maxWaiting:
		o.waiting = append(o.waiting, waiter{t, now.Add(again)})
	}
	return false, again
}

// withdraw lets t wait no longer: its message could not be sent.
func (p *places) withdraw(t turn, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owner(t.owner)
	if at := o.find(t); at >= 0 {
		o.waiting = slices.Delete(o.waiting, at, at+1)
	}
	p.tidy(t.owner, now)
}

// leave gives t's place back. When another turn can have it, that is next, and has its place.
func (p *places) leave(t turn, now time.Time) (next *turn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := p.owner(t.owner)
	o.busy--
	o.hosts[t.host].busy--
	for i, w := range o.waiting {
		if o.room(w.host, now) {
			o.waiting = slices.Delete(o.waiting, i, i+1)
			o.take(w.host)
			next = &w.turn
			break
		}
	}
	p.tidy(t.owner, now)
	return next
}

// heard notes of a receiver that has a place whether it was late.
func (p *places) heard(r receiver, late bool, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	h := p.owner(r.owner).host(r.host)
	h.lateUntil = time.Time{}
	if late {
		h.lateUntil = now.Add(lateFor)
	}
}

func (p *places) owner(name events.Owner) *ownerState {
	o := p.owners[name]
	if o == nil {
		o = &ownerState{hosts: map[string]*hostState{}}
		if p.owners == nil {
			p.owners = map[events.Owner]*ownerState{}
		}
		p.owners[name] = o
	}
	return o
}

// tidy forgets what says nothing any more, so that memory is that of what goes on.
func (p *places) tidy(name events.Owner, now time.Time) {
	o := p.owners[name]
	for host, h := range o.hosts {
		if h.busy == 0 && now.After(h.lateUntil) {
			delete(o.hosts, host)
		}
	}
	if o.busy == 0 && len(o.waiting) == 0 && len(o.hosts) == 0 {
		delete(p.owners, name)
	}
}

func (o *ownerState) host(name string) *hostState {
	h := o.hosts[name]
	if h == nil {
		h = &hostState{}
		o.hosts[name] = h
	}
	return h
}

func (o *ownerState) find(t turn) int {
	return slices.IndexFunc(o.waiting, func(w waiter) bool { return w.turn == t })
}

// room says whether one more may be told at a host.
func (o *ownerState) room(host string, now time.Time) bool {
	h := o.hosts[host]
	if o.busy >= ownerPlaces {
		return false
	}
	if h == nil {
		return true
	}
	if now.Before(h.lateUntil) {
		return h.busy < latePlaces
	}
	return h.busy < receiverPlaces
}

func (o *ownerState) take(host string) {
	o.busy++
	o.host(host).busy++
}
