package api

import (
	"errors"
	"net/http"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// createTraining is POST /v1/models/{owner}/{model}/versions/{id}/trainings {"destination", "input", …}.
func (s *server) createTraining(c *call) error {
	o, err := s.object(c)
	if err != nil {
		return err
	}
	t, err := s.resolve(c, events.Ref{Owner: c.PathValue("owner"), Name: c.PathValue("model"), ID: c.PathValue("id")})
	if err != nil {
		return err
	}
	if !t.program.Program.Trains() {
		return unprocessable("Invalid version or not permitted", "This version draws; it cannot be trained. Train replicate/lora-training or replicate/lora-advanced-training.")
	}
	sub, err := readSubmission(c, o, t)
	if err != nil {
		return err
	}
	if sub.destination, err = s.destination(c, o); err != nil {
		return err
	}
	j, err := s.submit(c, sub)
	if err != nil {
		return err
	}
	return s.created(c, &j, prefer{})
}

// destination checks that the model which is to get the new version is there and the caller's.
func (s *server) destination(c *call, o map[string]any) (string, error) {
	missing := &problem{status: http.StatusNotFound, title: "Not found", detail: "The specified training destination does not exist"}
	d, err := text(o, "destination")
	if err != nil {
		return "", err
	}
	ref, ok := events.ParseRef(d)
	if !ok || ref.ID != "" || ref.Owner != string(c.owner) {
		return "", missing
	}
	_, err = s.reg.Model(c.Context(), c.owner, ref.Name)
	if errors.Is(err, infra.ErrNotFound) {
		return "", missing
	}
	return d, err
}

func (s *server) listTrainings(c *call) error { return s.listJobs(c, "/v1/trainings", true) }

func (s *server) getTraining(c *call) error {
	j, err := s.job(c, true)
	if err != nil {
		return err
	}
	return s.showJob(c, &j)
}

func (s *server) cancelTraining(c *call) error { return s.cancel(c, true) }

func (s *server) deleteTraining(c *call) error { return s.remove(c, true) }
