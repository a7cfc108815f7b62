// Command runner runs jobs of a deployment on AWS: what the image of infra/Dockerfile starts.
package main

import (
	"context"
	"flag"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/device/cpu"
	"github.com/lowrank/lowrank/gpurunner/inputs"
	"github.com/lowrank/lowrank/gpurunner/models"
	"github.com/lowrank/lowrank/gpurunner/tensor"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra/aws"
	"github.com/lowrank/lowrank/infra/bases"
	"github.com/lowrank/lowrank/infra/fetch"
)

func main() {
	queue := flag.String("queue", "predictions", "queue to take jobs from: predictions or trainings")
	cache := flag.String("cache", "", "folder for base models and fetched files")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, *queue, *cache); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, queue, cache string) error {
	store, err := aws.Open(ctx)
	if err != nil {
		return err
	}
	ports := store.Ports()
	known := bases.Store{Blobs: ports.Blobs, Docs: ports.Documents}
	shipped, err := base.Open(embedded.Name, base.Options{})
	if err != nil {
		return err
	}
	limits, err := models.Limits(shipped)
	shipped.Close()
	if err != nil {
		return err
	}
	limits.Name = embedded.Name
	if err := known.Register(ctx, limits); err != nil {
		return err
	}
	dev, err := cpu.New(cpu.Options{})
	if err != nil {
		return err
	}
	scratch := filepath.Join(cache, "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	fetched := filepath.Join(cache, "fetched")
	remote, err := fetch.New(fetch.Options{Dir: fetched})
	if err != nil {
		return err
	}
	kept, err := fetch.OpenCache(fetched, 4<<30)
	if err != nil {
		return err
	}
	engine := &models.Engine{Pool: tensor.NewPool(dev), Bases: opener{known, filepath.Join(cache, "bases")}}
	defer engine.Release()
	loop := &worker.Loop{
		Ports: ports, Queue: queue, Programs: engine.Programs(), Fetcher: &inputs.Fetcher{Blobs: ports.Blobs, Remote: remote, Cache: kept},
		Scratch: scratch, Log: slog.Default(),
	}
	return loop.Run(ctx)
}

// opener opens the bases of the deployment.
type opener struct {
	bases bases.Store
	dir   string
}

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
