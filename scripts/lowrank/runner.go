package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/gpurunner/models"
	"github.com/lowrank/lowrank/gpurunner/worker"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/local"
)

// runnerCommand is what `serve` starts as a child: a job loop on the data
// folder. It stops when its standard input ends, so that it never outlives the
// service, and hands its job back then.
func runnerCommand() *cobra.Command {
	var data, queue, name string
	var bases []string
	var loopback bool
	var r pick.Request
	cmd := &cobra.Command{
		Use:    "runner",
		Short:  "Run the jobs of a queue (started by serve)",
		Hidden: true,
		Args:   takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := handOver(r); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(cmd.Context())
			defer cancel()
			go func() {
				_, _ = io.Copy(io.Discard, os.Stdin)
				cancel()
			}()
			dir, err := dataDir(data)
			if err != nil {
				return err
			}
			served, err := parseBases(bases, dir)
			if err != nil {
				return err
			}
			return runJobs(ctx, dir, queue, name, served, r, loopback)
		},
	}
	cmd.Flags().StringVar(&data, "data", "", dataHelp)
	cmd.Flags().StringVar(&queue, "queue", "", "the queue")
	cmd.Flags().StringVar(&name, "name", "", "of this process, which no other ever has")
	cmd.Flags().StringArrayVar(&bases, "base", nil, "NAME=PATH of a base model")
	cmd.Flags().BoolVar(&loopback, "allow-loopback", false, "let user URLs reach this machine")
	deviceFlags(cmd.Flags(), &r)
	return cmd
}

func runJobs(ctx context.Context, dir, queue, name string, bases servedBases, r pick.Request, loopback bool) error {
	log := infra.CutKeys(slog.New(slog.NewTextHandler(os.Stderr, nil))).With("runner", queue)
	store, err := openData(context.WithoutCancel(ctx), dir, local.Options{Name: name})
	if err != nil {
		return err
	}
	defer store.Close()
	pool, err := openDevice(r)
	if err != nil {
		return err
	}
	log.Info("ready", "device", pool.Device.Name())
	engine := &models.Engine{Pool: pool, Bases: bases}
	defer engine.Release()
	scratch := filepath.Join(dir, "scratch")
	if err := os.MkdirAll(scratch, 0o700); err != nil {
		return err
	}
	fetcher, err := openFetcher(store.Ports(), filepath.Join(dir, "cache"), loopback)
	if err != nil {
		return err
	}
	loop := &worker.Loop{Ports: store.Ports(), Queue: queue, Programs: engine.Programs(), Most: engine.Most(), Together: engine.Together,
		Fetcher: fetcher, Scratch: scratch, Log: log, Name: name}
	return loop.Run(ctx)
}
