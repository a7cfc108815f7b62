package main

import (
	"net/http"
	"time"

	"github.com/lowrank/lowrank/gpurunner/inputs"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/fetch"
)

// cacheLimit is how many bytes of fetched files a service keeps.
const cacheLimit = 4 << 30

// openFetcher makes what brings inputs to a runner.
func openFetcher(ports infra.Ports, dir string, loopback bool) (worker.Fetcher, error) {
	remote, err := fetch.New(fetch.Options{Dir: dir, CacheBytes: cacheLimit, AllowLoopback: loopback})
	if err != nil {
		return nil, err
	}
	cache, err := fetch.OpenCache(dir, cacheLimit)
	if err != nil {
		return nil, err
	}
	return &inputs.Fetcher{Blobs: ports.Blobs, Remote: remote, Cache: cache}, nil
}

// webhookPatience is how long a receiver may take.
const webhookPatience = 10 * time.Second

func openWebhookClient(loopback bool) *http.Client {
	return fetch.WebhookClient(fetch.Options{AllowLoopback: loopback}, webhookPatience)
}
