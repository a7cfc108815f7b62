package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// createPrediction is POST /v1/predictions {"version", "input", …}.
func (s *server) createPrediction(c *call) error {
	o, err := s.object(c)
	if err != nil {
		return err
	}
	t, err := s.targetOf(c, o["version"], "version")
	if err != nil {
		return err
	}
	return s.predict(c, o, t)
}

// createModelPrediction is POST /v1/models/{owner}/{model}/predictions: the latest version.
func (s *server) createModelPrediction(c *call) error {
	o, err := s.object(c)
	if err != nil {
		return err
	}
	t, err := s.resolve(c, events.Ref{Owner: c.PathValue("owner"), Name: c.PathValue("model")})
	if err != nil {
		return err
	}
	return s.predict(c, o, t)
}

func (s *server) predict(c *call, o map[string]any, t target) error {
	sub, err := readSubmission(c, o, t)
	if err != nil {
		return err
	}
	j, err := s.submit(c, sub)
	if err != nil {
		return err
	}
	return s.created(c, &j, sub.prefer)
}

// created answers a POST that made a job, after waiting for its end if the client prefers that.
func (s *server) created(c *call, j *events.Job, p prefer) error {
	if p.wait {
		s.wait(c.Context(), j, p.hold(s.MaxWait))
		c.Header().Set("Preference-Applied", p.applied)
	}
	j.Links = c.links
	v, err := s.jobs.View(c.Context(), j)
	if err != nil {
		v = j.View("") // the job is made: the client must not try again
	}
	if p.wait && !v.Status.Terminal() {
		// The clients take anything but "starting" for finished here. GET tells the true state.
		v.Status, v.StartedAt = events.Starting, events.Time{}
	}
	c.Header().Set("Location", v.URLs.Get)
	return c.writeJSON(http.StatusCreated, v)
}

// wait holds until the job ends, d is over, the client goes away or the server stops. j is then the
// newest that was read.
func (s *server) wait(ctx context.Context, j *events.Job, d time.Duration) {
	deadline := time.After(d)
	pause := 10 * time.Millisecond
	for !j.Status.Terminal() {
		select {
		case <-ctx.Done():
			return
		case <-s.Stopping:
			return
		case <-deadline:
			return
		case <-time.After(pause):
		}
		pause = min(pause*3/2, 200*time.Millisecond)
		if next, err := s.jobs.Load(ctx, j.ID); err == nil {
			*j = next
		} else if errors.Is(err, infra.ErrNotFound) {
			return // deleted meanwhile: what was known is told
		}
	}
}

// job finds the caller's job that the path names. Another owner's is not there.
func (s *server) job(c *call, trainingsOnly bool) (events.Job, error) {
	j, err := s.jobs.Load(c.Context(), events.JobID(c.PathValue("id")))
	if err != nil {
		return j, err
	}
	if j.Owner != c.owner || trainingsOnly && !j.Training {
		return events.Job{}, notFound()
	}
	j.Links = c.links
	return j, nil
}

// showJob answers with the job and its log.
func (s *server) showJob(c *call, j *events.Job) error {
	v, err := s.jobs.View(c.Context(), j)
	if err != nil {
		return err
	}
	return c.writeJSON(http.StatusOK, v)
}

// getPrediction is GET /v1/predictions/{id}; a training's id is taken too.
func (s *server) getPrediction(c *call) error {
	j, err := s.job(c, false)
	if err != nil {
		return err
	}
	return s.showJob(c, &j)
}

// cancelPrediction is POST /v1/predictions/{id}/cancel. It is canceled when this answers; the runner
// stops within seconds. One that has ended stays as it is.
func (s *server) cancelPrediction(c *call) error { return s.cancel(c, false) }

func (s *server) cancel(c *call, trainingsOnly bool) error {
	j, err := s.job(c, trainingsOnly)
	if err != nil {
		return err
	}
	if j, err = s.jobs.Cancel(c.Context(), j.ID); err != nil {
		return err
	}
	j.Links = c.links
	return s.showJob(c, &j)
}

// deletePrediction is DELETE /v1/predictions/{id}: record, log, outputs and checkpoint go.
func (s *server) deletePrediction(c *call) error { return s.remove(c, false) }

func (s *server) remove(c *call, trainingsOnly bool) error {
	j, err := s.job(c, trainingsOnly)
	if err != nil {
		return err
	}
	if err := s.jobs.Remove(c.Context(), j.ID); err != nil {
		return err
	}
	if err := s.reg.DeleteDelivery(c.Context(), j.ID); err != nil {
		return err
	}
	c.WriteHeader(http.StatusNoContent)
	return nil
}

// listPredictions is GET /v1/predictions, without trainings.
func (s *server) listPredictions(c *call) error { return s.listJobs(c, "/v1/predictions", false) }

// listJobs writes a page. Logs are left out of lists: each page would carry megabytes of them.
func (s *server) listJobs(c *call, path string, trainings bool) error {
	p, err := parseCursor(c.URL.Query())
	if err != nil {
		return err
	}
	jobs, next, err := readPage(p, func(j events.Job) string { return string(j.ID) }, func(cursor string, limit int) ([]events.Job, string, error) {
		return s.jobs.List(c.Context(), c.owner, trainings, cursor, limit)
	})
	if errors.Is(err, infra.ErrInvalid) {
		err = badRequest("The cursor is not one that this server gave.")
	}
	if err != nil {
		return err
	}
	page := events.Page{Results: []any{}}
	for i := range jobs {
		jobs[i].Links = c.links
		page.Results = append(page.Results, jobs[i].View(""))
	}
	if len(jobs) > 0 {
		page.Next, page.Previous = p.links(c.links.API+path, string(jobs[0].ID), next)
	}
	return c.writeJSON(http.StatusOK, page)
}
