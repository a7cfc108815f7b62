package notify

import (
	"fmt"
	"testing"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// at is the n-th message for an owner's receiver.
func at(owner, host string, n int) turn {
	return turn{receiver{events.Owner(owner), host}, events.Deliver{Type: events.TypeWebhook, ID: events.JobID(fmt.Sprint(host, n))}}
}

// enterAll enters n messages from first on, and counts those that have a place.
func enterAll(p *places, owner, host string, first, n int, now time.Time) (in int) {
	for i := range n {
		if ok, _ := p.enter(at(owner, host, first+i), now); ok {
			in++
		}
	}
	return in
}

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func TestPlaces(t *testing.T) {
	t.Run("Bounds", func(t *testing.T) {
		var p places
		for _, c := range []struct {
			owner, host string
			want        int
		}{
			{"a", "x", receiverPlaces}, {"b", "x", receiverPlaces}, {"a", "y", ownerPlaces - receiverPlaces}, {"a", "z", 0}, {"b", "z", receiverPlaces},
		} {
			if in := enterAll(&p, c.owner, c.host, 0, 20, noon); in != c.want {
				t.Errorf("%s at %s has %d places, want %d", c.owner, c.host, in, c.want)
			}
		}
	})
	t.Run("Late", func(t *testing.T) {
		var p places
		enterAll(&p, "a", "x", 0, 1, noon)
		r := receiver{"a", "x"}
		p.heard(r, true, noon)
		if in := enterAll(&p, "a", "x", 1, 9, noon); in != latePlaces-1 {
			t.Errorf("a late receiver got %d more", in)
		}
		if in := enterAll(&p, "b", "x", 0, 9, noon); in != receiverPlaces {
			t.Errorf("another owner's at the same host got %d", in)
		}
		p.heard(r, false, noon)
		if in := enterAll(&p, "a", "x", 10, 9, noon); in != receiverPlaces-latePlaces {
			t.Errorf("when it answered it got %d more", in)
		}
		p.heard(r, true, noon)
		for range receiverPlaces - latePlaces {
			if next := p.leave(at("a", "x", 0), noon); next != nil {
				t.Errorf("%v has a place beside %d at a late receiver", next, latePlaces)
			}
		}
		if ok, _ := p.enter(at("a", "x", 30), noon.Add(lateFor)); !ok {
			t.Error("it is held against it for ever")
		}
	})
	t.Run("FirstComeFirstServed", func(t *testing.T) {
		var p places
		enterAll(&p, "a", "x", 0, receiverPlaces+3, noon)
		enterAll(&p, "a", "y", 0, receiverPlaces, noon)
		enterAll(&p, "a", "y", 10, 1, noon)
		left := at("a", "y", 0)
		for _, want := range []turn{at("a", "y", 10), at("a", "x", receiverPlaces)} { // x has all its places at first
			next := p.leave(left, noon)
			if next == nil || *next != want {
				t.Fatalf("next is %v, want %v", next, want)
			}
			left = at("a", "x", 0)
		}
	})
	t.Run("OneMessage", func(t *testing.T) {
		var p places
		enterAll(&p, "a", "x", 0, receiverPlaces, noon)
		m := at("a", "x", 99)
		enter := func(now time.Time) time.Duration {
			ok, again := p.enter(m, now)
			if ok {
				t.Fatal("it has a place")
			}
			return again
		}
		first := enter(noon)
		if first < comesBack {
			t.Errorf("its message comes after %v", first)
		}
		if again := enter(noon.Add(first - 1)); again != 0 {
			t.Errorf("a second message would come after %v", again)
		}
		if again := enter(noon.Add(first)); again < comesBack {
			t.Errorf("its message has come, and comes again after %v", again)
		}
		p.withdraw(m, noon)
		if again := enter(noon); again == 0 {
			t.Error("withdrawn, it is taken for one that waits")
		}
		if next := p.leave(at("a", "x", 0), noon); next == nil || *next != m {
			t.Errorf("next is %v", next)
		}
		if next := p.leave(m, noon); next != nil {
			t.Errorf("%v waited twice", next)
		}
	})
	t.Run("Backlog", func(t *testing.T) {
		var p places
		enterAll(&p, "a", "x", 0, receiverPlaces+maxWaiting, noon)
		for i := range 2000 {
			ok, again := p.enter(at("a", "x", receiverPlaces+maxWaiting+i), noon)
			if least := comesBack + time.Duration(maxWaiting+i-1)*comesBackGap; ok || again < least {
				t.Fatalf("message %d comes after %v, want %v at least", i, again, least)
			}
		}
		p.owners["a"].back = noon.Add(time.Hour)
		if _, again := p.enter(at("a", "x", 9999), noon); again != infra.MaxDelay {
			t.Errorf("the last comes after %v", again)
		}
		if n := len(p.owners["a"].waiting); n != maxWaiting {
			t.Errorf("%d wait in memory", n)
		}
		if ok, _ := p.enter(at("b", "x", 0), noon); !ok {
			t.Error("and another owner waits, too")
		}
	})
	t.Run("Forgets", func(t *testing.T) {
		var p places
		for i := range 100 {
			one := at("a", fmt.Sprint("host", i), 0)
			p.enter(one, noon)
			p.heard(one.receiver, i%2 == 0, noon)
			p.leave(one, noon)
		}
		one := at("a", "x", 0)
		p.enter(one, noon)
		p.leave(one, noon.Add(lateFor+1))
		if len(p.owners) != 0 {
			t.Errorf("%d hosts are remembered", len(p.owners["a"].hosts))
		}
	})
}
