package main

import (
	"context"
	"errors"
	"net/http"

	"github.com/lowrank/lowrank/gpurunner/inputs"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
)

// cacheLimit is how many bytes of fetched files a service keeps.
const cacheLimit = 4 << 30

type remote struct{}

func (remote) Fetch(context.Context, string) (worker.File, error) {
	return worker.File{}, errors.New("not yet")
}

func openFetcher(ports infra.Ports, dir string, loopback bool) (worker.Fetcher, error) {
	return &inputs.Fetcher{Blobs: ports.Blobs, Remote: remote{}, Dir: dir, Max: cacheLimit}, nil
}

func openWebhookClient(loopback bool) (*http.Client, error) { return http.DefaultClient, nil }
