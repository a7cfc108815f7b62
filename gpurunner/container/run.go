package container

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/gpurunner/inputs"
	"github.com/lowrank/lowrank/gpurunner/models"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws"
	"github.com/lowrank/lowrank/infra/bases"
	"github.com/lowrank/lowrank/infra/fetch"
)

// cacheBytes is what fetched files may take on the disk.
const cacheBytes = 4 << 30

func run(ctx context.Context, o options, note func(string)) error {
	store, err := aws.Open(ctx)
	if err != nil {
		return err
	}
	ports := store.Ports()
	known := bases.Store{Blobs: ports.Blobs, Docs: ports.Documents}
	if err := registerEmbedded(ctx, known); err != nil {
		return err
	}
	dev, err := pick.Open(o.device, note)
	if err != nil {
		return err
	}
	slog.Info("ready", "device", dev.Name(), "queue", o.queue)
	scratch := filepath.Join(o.cache, "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	fetched := filepath.Join(o.cache, "fetched")
	remote, err := fetch.New(fetch.Options{Dir: fetched})
	if err != nil {
		return err
	}
	kept, err := fetch.OpenCache(fetched, cacheBytes)
	if err != nil {
		return err
	}
	engine := &models.Engine{Pool: tensor.NewPool(dev), Bases: opener{known, filepath.Join(o.cache, "bases")}}
	defer engine.Release()
	loop := &worker.Loop{
		Ports: ports, Queue: o.queue, Programs: engine.Programs(), Most: engine.Most(), Together: engine.Together, Fetcher: &inputs.Fetcher{Blobs: ports.Blobs, Remote: remote, Cache: kept},
		Scratch: scratch, Log: infra.CutKeys(slog.Default()),
	}
	return loop.Run(ctx)
}

// registerEmbedded tells the deployment of the base that ships with the program.
func registerEmbedded(ctx context.Context, known bases.Store) error {
	shipped, err := base.Open(embedded.Name, base.Options{})
	if err != nil {
		return err
	}
	defer shipped.Close()
	limits, err := models.Limits(shipped)
	if err != nil {
		return err
	}
	limits.Name = embedded.Name
	return known.Register(ctx, limits)
}

// opener opens the bases of the deployment.
type opener struct {
	bases bases.Store
	dir   string
}

// Open implements models.Bases.
func (o opener) Open(ctx context.Context, name string) (*base.Base, error) {
	path, err := o.bases.Fetch(ctx, name, o.dir)
	if err != nil {
		return nil, err
	}
	if path == "" {
		path = name
	}
	b, err := base.Open(path, base.Options{})
	if err == nil {
		b.Card.Name = name
	}
	return b, err
}
