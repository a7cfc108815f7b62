package registry

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
)

// WebhookSecret returns the owner's webhook secret, whsec_ and standard base64 (standard-webhooks), and makes
// it at the first call. It never changes.
func (r *Registry) WebhookSecret(ctx context.Context, o events.Owner) (string, error) {
	for {
		var s string
		_, err := r.get(ctx, "secrets", string(o), &s)
		if err == nil || !errors.Is(err, infra.ErrNotFound) {
			return s, err
		}
		var key [24]byte
		rand.Read(key[:])
		s = "whsec_" + base64.StdEncoding.EncodeToString(key[:])
		err = r.put(ctx, "secrets", string(o), 0, s)
		if err == nil || !errors.Is(err, infra.ErrConflict) {
			return s, err
		}
	}
}
