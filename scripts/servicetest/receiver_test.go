//go:build unix

package servicetest

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/lowrank/lowrank/events"
)

// receiver is a webhook's other end: it keeps the last body that it took of each
// job, and refuses one in seven.
type receiver struct {
	t      *testing.T
	mu     sync.Mutex
	chance *rand.Rand
	last   map[events.JobID]json.RawMessage
	ended  map[events.JobID]bool
	bodies map[string]string // by the delivery's id
	total  int
}

func newReceiver(t *testing.T, seed uint64) *receiver {
	return &receiver{t: t, chance: rand.New(rand.NewPCG(seed, 99)), last: map[events.JobID]json.RawMessage{}, ended: map[events.JobID]bool{}, bodies: map[string]string{}}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	var p events.Prediction
	if err != nil || json.Unmarshal(body, &p) != nil {
		r.t.Errorf("a webhook that is no prediction: %q, %v", body, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if r.chance.IntN(7) == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.ended[p.ID] && !p.Status.Terminal() {
		r.t.Errorf("%s: told %s after its end", p.ID, p.Status)
	}
	r.ended[p.ID] = r.ended[p.ID] || p.Status.Terminal()
	id := req.Header.Get("webhook-id")
	if old, ok := r.bodies[id]; id == "" || ok && p.Status.Terminal() && old != string(body) {
		r.t.Errorf("delivery %q came with two bodies:\n%s\n%s", id, old, body)
	}
	r.bodies[id] = string(body)
	r.last[p.ID] = body
}

// told is the last body about a job.
func (r *receiver) told(id events.JobID) json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last[id]
}
