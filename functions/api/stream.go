package api

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

const (
	streamPoll = 250 * time.Millisecond
	// keepAlive is how often a comment goes out: one client gives up after 30 s of silence.
	keepAlive = 10 * time.Second
)

// stream is GET /v1/streams/{id}-{secret}: server-sent events output, logs, error and done, each with an
// id. It needs no token (the npm client sends none); its URL is not guessed. A job that has ended is
// replayed. Last-Event-ID, which a reader sends that was cut off, goes on after that event.
func (s *server) stream(c *call) error {
	id, secret, _ := strings.Cut(c.PathValue("key"), "-")
	j, err := s.jobs.Load(c.Context(), events.JobID(id))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(j.StreamSecret)) != 1 {
		return notFound()
	}
	at := parseMark(c.Request.Header.Get("Last-Event-ID"))
	if at.done && j.Status.Terminal() {
		c.WriteHeader(http.StatusNoContent) // all was told: a browser's EventSource stops asking
		return nil
	}
	h := c.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.WriteHeader(http.StatusOK)
	s.follow(c, &j, at, &eventWriter{w: c.ResponseWriter, control: http.NewResponseController(c.ResponseWriter)})
	return nil // the answer has begun: nothing can be told any more
}

// mark is how far a stream has come. As text it is the id of the event that came so far.
type mark struct {
	logs    int64 // bytes of the log
	outputs int
	done    bool
}

// String is "bytes:outputs", at the end with ":done".
func (m mark) String() string {
	id := fmt.Sprintf("%d:%d", m.logs, m.outputs)
	if m.done {
		id += ":done"
	}
	return id
}

// parseMark reads an event's id; what is none is the beginning.
func parseMark(id string) mark {
	logs, rest, _ := strings.Cut(id, ":")
	outputs, end, _ := strings.Cut(rest, ":")
	n, err := strconv.ParseInt(logs, 10, 64)
	k, kerr := strconv.Atoi(outputs)
	m := mark{logs: n, outputs: k, done: end == "done"}
	if err != nil || kerr != nil || n < 0 || k < 0 || m.String() != id {
		return mark{}
	}
	return m
}

// follow writes the events after at until the job has ended or the client is gone.
func (s *server) follow(c *call, j *events.Job, at mark, out *eventWriter) {
	quiet := s.jobs.Now()
	out.comment()
	for {
		if j.LogSize > at.logs {
			b, err := s.Ports.Logs.Read(c.Context(), string(j.ID), at.logs, int(j.LogSize-at.logs))
			if err == nil && len(b) > 0 {
				at.logs += int64(len(b))
				out.event("logs", at, strings.ToValidUTF8(string(b), "\uFFFD"))
				quiet = s.jobs.Now()
			}
		}
		if j.Status.Terminal() {
			break
		}
		if s.jobs.Now().Sub(quiet) > keepAlive {
			out.comment()
			quiet = s.jobs.Now()
		}
		select {
		case <-c.Context().Done():
			return
		case <-s.Stopping:
			return
		case <-time.After(streamPoll):
		}
		next, err := s.jobs.Load(c.Context(), j.ID)
		if errors.Is(err, infra.ErrNotFound) {
			at.done = true
			out.event("done", at, `{"reason":"canceled"}`)
			return
		}
		if err == nil {
			*j = next
		}
	}
	j.Links = c.links
	for at.outputs < len(j.Outputs) {
		url := j.OutputURL(j.Outputs[at.outputs])
		at.outputs++
		out.event("output", at, url)
	}
	how := "{}"
	switch j.Status {
	case events.Failed:
		if b, err := events.Marshal(map[string]string{"detail": j.Error}); err == nil {
			out.event("error", at, string(b))
		}
		how = `{"reason":"error"}`
	case events.Canceled:
		how = `{"reason":"canceled"}`
	}
	at.done = true
	out.event("done", at, how)
}

// eventWriter writes server-sent events. Errors of a client that is gone show in its context.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func (e *eventWriter) event(name string, id mark, data string) {
	var b strings.Builder
	fmt.Fprintf(&b, "event: %s\nid: %s\n", name, id)
	data = strings.ReplaceAll(strings.ReplaceAll(data, "\r\n", "\n"), "\r", "\n")
	for line := range strings.SplitSeq(data, "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteString("\n")
	e.w.Write([]byte(b.String()))
	e.control.Flush()
}

func (e *eventWriter) comment() {
	e.w.Write([]byte(": keep-alive\n\n"))
	e.control.Flush()
}
