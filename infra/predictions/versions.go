package predictions

import (
	"context"
	"strings"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra/registry"
)

// addVersion makes the version of the destination that draws with what the training made. Doing so
// again makes the same one.
func (s *Store) addVersion(ctx context.Context, j *events.Job, weights events.OutputObject) (string, error) {
	id := events.TrainedVersionID(j, weights.SHA256)
	err := registry.Open(s.docs).AddVersion(ctx, j.Owner, registry.Version{
		ID: id, Model: j.Destination, Base: j.Base, WeightsKey: weights.Key, Training: j.ID, CreatedAt: events.At(s.clock.Now()),
	})
	return j.Destination + ":" + id, err
}

func (s *Store) removeVersion(ctx context.Context, j *events.Job) error {
	model, id, _ := strings.Cut(j.NewVersion, ":")
	return registry.Open(s.docs).DeleteVersion(ctx, j.Owner, model, id)
}
