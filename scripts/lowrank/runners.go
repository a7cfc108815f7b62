package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/predictions"
)

// runners are the child processes that do the jobs. One that dies is started
// again; its jobs go on at once, with any runner, and it counts as a crash of theirs.
type runners struct {
	store *local.Store
	log   *slog.Logger
	done  sync.WaitGroup

	mu       sync.Mutex
	stopping bool
	inputs   map[int]io.WriteCloser // by process id: closing one asks its runner to stop
	procs    map[int]*os.Process
}

// startRunners starts f.runners processes for each queue.
func startRunners(store *local.Store, dir string, f *serveFlags, queues []string, log *slog.Logger) (*runners, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	r := &runners{store: store, log: log, inputs: map[int]io.WriteCloser{}, procs: map[int]*os.Process{}}
	for _, queue := range queues {
		args := []string{"runner", "--data", dir, "--queue", queue}
		for _, b := range f.bases {
			args = append(args, "--base", b)
		}
		args = append(args, deviceArgs(f.device)...)
		if f.loopback {
			args = append(args, "--allow-loopback")
		}
		for range f.runners {
			r.done.Go(func() { r.keep(self, args, queue) })
		}
	}
	return r, nil
}

// keep runs one runner again and again until stop.
func (r *runners) keep(self string, args []string, queue string) {
	pause := 100 * time.Millisecond
	for {
		begun := time.Now()
		err := r.once(self, args, queue)
		r.mu.Lock()
		stopping := r.stopping
		r.mu.Unlock()
		if stopping {
			return
		}
		r.log.Error("a runner ended and is started again", "queue", queue, "err", err)
		if time.Since(begun) > time.Minute {
			pause = 100 * time.Millisecond
		}
		time.Sleep(pause)
		pause = min(2*pause, 10*time.Second)
	}
}

// once runs a runner to its end.
func (r *runners) once(self string, args []string, queue string) error {
	name := events.NewID() // a name for each process: nothing that the next one holds is taken for this one's
	cmd := exec.Command(self, slices.Concat(args, []string{"--name", name})...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	detach(cmd)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	r.mu.Lock()
	if r.stopping {
		r.mu.Unlock()
		return nil
	}
	if err := cmd.Start(); err != nil {
		r.mu.Unlock()
		return err
	}
	pid := cmd.Process.Pid
	r.inputs[pid], r.procs[pid] = in, cmd.Process
	r.mu.Unlock()
	err = cmd.Wait()
	r.mu.Lock()
	delete(r.inputs, pid)
	delete(r.procs, pid)
	r.mu.Unlock()
	if cmd.ProcessState != nil { // it is known to have ended
		r.forsake(queue, name)
	}
	return err
}

// forsakePatience is how long the store may take to free a dead runner's jobs.
const forsakePatience = 10 * time.Second

// forsake frees what a runner held that has ended: nothing, if it could hand it
// back. If the store fails, the jobs come back when their leases are over.
func (r *runners) forsake(queue, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), forsakePatience)
	defer cancel()
	held, err := r.store.Held(ctx, queue, name)
	if err == nil {
		err = predictions.New(r.store.Ports()).Forsake(ctx, queue, name, held)
	}
	if err != nil {
		r.log.Warn("a dead runner's jobs come back when their leases are over", "queue", queue, "err", err)
	}
}

// stop asks all runners to hand back their jobs and waits for them; those that
// are not done when ctx ends are killed, and their jobs come again.
func (r *runners) stop(ctx context.Context) {
	r.mu.Lock()
	r.stopping = true
	for _, in := range r.inputs {
		in.Close()
	}
	r.mu.Unlock()
	all := make(chan struct{})
	go func() {
		r.done.Wait()
		close(all)
	}()
	select {
	case <-all:
		return
	case <-ctx.Done():
	}
	r.mu.Lock()
	for _, p := range r.procs {
		_ = p.Kill()
	}
	r.mu.Unlock()
	<-all
}
