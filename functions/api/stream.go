package api

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
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
// replayed.
func (s *server) stream(c *call) error {
	id, secret, _ := strings.Cut(c.PathValue("key"), "-")
	j, err := s.jobs.Load(c.Context(), events.JobID(id))
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(secret), []byte(j.StreamSecret)) != 1 {
		return notFound()
	}
	h := c.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.WriteHeader(http.StatusOK)
	out := &eventWriter{w: c.ResponseWriter, control: http.NewResponseController(c.ResponseWriter), start: s.jobs.Now().Unix()}
	s.follow(c, &j, out)
	return nil // the answer has begun: nothing can be told any more
}

// follow writes events until the job has ended or the client is gone.
func (s *server) follow(c *call, j *events.Job, out *eventWriter) {
	var sent int64
	quiet := s.jobs.Now()
	out.comment()
	for {
		if j.LogSize > sent {
			b, err := s.Ports.Logs.Read(c.Context(), string(j.ID), sent, int(j.LogSize-sent))
			if err == nil && len(b) > 0 {
				out.event("logs", strings.ToValidUTF8(string(b), "\uFFFD"))
				sent += int64(len(b))
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
			out.event("done", `{"reason":"canceled"}`)
			return
		}
		if err == nil {
			*j = next
		}
	}
	j.Links = c.links
	for _, o := range j.Outputs {
		out.event("output", j.OutputURL(o))
	}
	switch j.Status {
	case events.Failed:
		if b, err := events.Marshal(map[string]string{"detail": j.Error}); err == nil {
			out.event("error", string(b))
		}
		out.event("done", `{"reason":"error"}`)
	case events.Canceled:
		out.event("done", `{"reason":"canceled"}`)
	default:
		out.event("done", "{}")
	}
}

// eventWriter writes server-sent events. Errors of a client that is gone show in its context.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	start   int64
	n       int
}

func (e *eventWriter) event(name, data string) {
	e.n++
	var b strings.Builder
	fmt.Fprintf(&b, "event: %s\nid: %d:%d\n", name, e.start, e.n)
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
