package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/samples"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// The job that is rehearsed: the announcement's, with a seed.
const (
	trainModel = "replicate/lora-training"
	drawModel  = "replicate/lora"
)

var trainInput = map[string]any{"task": "style", "seed": 7}

func drawInput(concept string) map[string]any {
	return map[string]any{"prompt": "a cat in the style of <1>", "lora_urls": concept, "seed": 11, "num_outputs": 2}
}

// jobs trains by upload, stops and kills runners in the middle, draws with what was
// learnt.
func (r *rehearsal) jobs(ctx context.Context) error {
	zip, err := samples.Zip(samples.NeonSign)
	if err != nil {
		return err
	}
	if err := r.presigned(ctx, zip); err != nil {
		return err
	}
	p, err := r.api.trainByUpload(ctx, "neon-sign.zip", zip, trainModel, trainInput)
	if err != nil {
		return err
	}
	trainings := lowrankaws.New(r.stack.sdk, r.stack.Config).Ports().Queues.Queue(infra.TrainingQueue)
	for d := (infra.Depth{}); d.Waiting != 1; {
		if d, err = trainings.Depth(ctx); err != nil {
			return err
		}
		if err := infra.Sleep(ctx, infra.SystemClock{}, 100*time.Millisecond); err != nil {
			return err
		}
	}
	r.say("the zip's arrival queued the training; scaling trainings from 0 to 1")
	if err := r.scale(ctx, "TrainingService", 1); err != nil {
		return err
	}
	if err := r.interrupt(ctx, p.ID, 25, syscall.SIGTERM); err != nil {
		return err
	}
	r.say("told the runner to stop at a quarter of the training, as a spot notice does")
	if err := r.interrupt(ctx, p.ID, 60, syscall.SIGKILL); err != nil {
		return err
	}
	r.say("killed the next one, which went on with it")
	trained, weights, err := r.api.succeed(ctx, p.ID)
	if err != nil {
		return err
	}
	r.say("trained in spite of it: sha256 %s", weights[0])
	pictures, err := r.draw(ctx, r.api, trained.outputs()[0])
	if err != nil {
		return err
	}
	r.say("drew %d pictures with it", len(pictures))
	if err := r.uploadedBase(ctx); err != nil {
		return fmt.Errorf("the uploaded base model: %w", err)
	}
	if err := r.consumed(ctx, trained.ID+"-0", weights[0]); err != nil {
		return err
	}
	r.made = append([]string{weights[0]}, pictures...)
	return nil
}

// served is what `lowrank serve` made: SHA-256 of the weights and of the pictures.
type served struct {
	sums []string
	err  error
}

// startServing begins to do the same jobs on `lowrank serve`, while the stack is deployed.
func (r *rehearsal) startServing(ctx context.Context) error {
	zip, err := samples.Zip(samples.NeonSign)
	if err != nil {
		return err
	}
	r.served = make(chan served, 1)
	go func() {
		weights, pictures, err := r.serve(ctx, zip)
		r.served <- served{append([]string{weights}, pictures...), err}
	}()
	return nil
}

// stopServing ends what startServing began, if nothing has waited for it.
func (r *rehearsal) stopServing(cancel func()) {
	cancel()
	if r.served != nil {
		<-r.served
	}
}

// compare waits for `lowrank serve`, which must make the same bytes.
func (r *rehearsal) compare(ctx context.Context) error {
	var got served
	select {
	case got = <-r.served:
		r.served = nil
	case <-ctx.Done():
		return ctx.Err()
	}
	if got.err != nil {
		return fmt.Errorf("lowrank serve: %w", got.err)
	}
	if !slices.Equal(r.made, got.sums) {
		return fmt.Errorf("weights and pictures here are %v; lowrank serve made %v", r.made, got.sums)
	}
	r.say("`lowrank serve` makes the same bytes of weights and pictures")
	return nil
}

// presigned shows that an upload_url takes what it was made for and nothing else.
func (r *rehearsal) presigned(ctx context.Context, zip []byte) error {
	var up struct {
		UploadURL  string `json:"upload_url"`
		ServingURL string `json:"serving_url"`
	}
	if err := r.api.do(ctx, http.MethodPost, "/v1/upload/mine.zip", nil, &up); err != nil {
		return err
	}
	for name, url := range map[string]string{
		"another key's":     strings.Replace(up.UploadURL, "mine.zip", "yours.zip", 1),
		"a tampered one's":  up.UploadURL[:len(up.UploadURL)-4] + "0000",
		"one without query": strings.Split(up.UploadURL, "?")[0],
	} {
		if status, err := r.api.put(ctx, url, zip); err != nil || status != http.StatusForbidden {
			return fmt.Errorf("%s PUT was answered %d, want 403: %w", name, status, err)
		}
	}
	anonymous := &client{http: r.api.http}
	for _, step := range []struct {
		put  bool
		want int
	}{
		{false, http.StatusNotFound},
		{true, http.StatusOK},
	} {
		if step.put {
			if status, err := r.api.put(ctx, up.UploadURL, zip); err != nil || status != http.StatusOK {
				return fmt.Errorf("PUT was answered %d: %w", status, err)
			}
		}
		status, _, err := anonymous.raw(ctx, http.MethodGet, up.ServingURL, nil)
		if err != nil || status != step.want {
			return fmt.Errorf("GET of the serving_url answered %d, want %d: %w", status, step.want, err)
		}
	}
	r.say("upload_url: another key, a changed signature and none are refused; serving_url answers once the file is there")
	return nil
}

// percentages are those of the progress lines in a log.
var percentages = regexp.MustCompile(`(?m)^ *(\d+)%\|`)

// interrupt waits until the job has come so many percent far and sends its runner a
// signal.
func (r *rehearsal) interrupt(ctx context.Context, id string, far int, s os.Signal) error {
	p, err := r.api.wait(ctx, id, func(p *prediction) bool {
		for _, m := range percentages.FindAllStringSubmatch(p.Logs, -1) {
			if n, err := strconv.Atoi(m[1]); err == nil && n >= far && n < 100 {
				return true
			}
		}
		return false
	})
	if err != nil {
		return err
	}
	if p.ended() {
		return fmt.Errorf("the job %s before its runner could be sent %v: %s", p.Status, s, p.Error)
	}
	found, err := r.agent.signal(id, s)
	if err == nil && !found {
		err = fmt.Errorf("no runner is at job %s", id)
	}
	return err
}

// draw draws with a concept and returns the pictures' hashes.
func (r *rehearsal) draw(ctx context.Context, c *client, concept string) ([]string, error) {
	var p prediction
	body := map[string]any{"input": drawInput(concept)}
	if err := c.do(ctx, http.MethodPost, "/v1/models/"+drawModel+"/predictions", body, &p, "Prefer", "wait"); err != nil {
		return nil, err
	}
	_, sums, err := c.succeed(ctx, p.ID)
	return sums, err
}

// uploadedBase draws with every base model there is: the one that was added is
// fetched by the runner, and draws what the embedded one draws, whose copy it is.
func (r *rehearsal) uploadedBase(ctx context.Context) error {
	var versions struct {
		Results []struct {
			ID string `json:"id"`
		} `json:"results"`
	}
	for deadline := time.Now().Add(2 * time.Minute); len(versions.Results) != 2; { // functions look once a minute
		if err := r.api.do(ctx, http.MethodGet, "/v1/models/"+drawModel+"/versions", nil, &versions); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d versions of %s, want one a base model: 2", len(versions.Results), drawModel)
		}
		if err := infra.Sleep(ctx, infra.SystemClock{}, time.Second); err != nil {
			return err
		}
	}
	var drawn []image.Image // the files differ: each names its base
	for _, v := range versions.Results {
		var p prediction
		body := map[string]any{"version": v.ID, "input": map[string]any{"prompt": "a fox", "seed": 5}}
		if err := r.api.do(ctx, http.MethodPost, "/v1/predictions", body, &p); err != nil {
			return err
		}
		_, files, err := r.api.files(ctx, p.ID)
		if err != nil {
			return err
		}
		picture, err := png.Decode(bytes.NewReader(files[0]))
		if err != nil {
			return err
		}
		drawn = append(drawn, picture)
	}
	if !reflect.DeepEqual(drawn[0], drawn[1]) {
		return errors.New("the embedded base and its uploaded copy drew different pictures")
	}
	r.say("`lowrank base add --aws` added a base model; the runner fetched it and drew the embedded one's picture")
	return nil
}

// serve does the same jobs on `lowrank serve`.
func (r *rehearsal) serve(ctx context.Context, zip []byte) (weights string, pictures []string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	l.Close()
	logs, err := os.Create(filepath.Join(r.dir, "serve.log"))
	if err != nil {
		return "", nil, err
	}
	defer logs.Close()
	cmd := exec.CommandContext(ctx, filepath.Join(r.stack.root, "bin", "lowrank"), "serve", "--addr", addr, "--data", filepath.Join(r.dir, "serve"), "--allow-loopback")
	cmd.Stderr = logs
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		_ = cmd.Wait()
	}()
	c := &client{http: http.DefaultClient, url: "http://" + addr}
	for lines := bufio.NewScanner(out); c.token == "" && lines.Scan(); {
		if _, token, ok := strings.Cut(lines.Text(), "REPLICATE_API_TOKEN="); ok {
			c.token = strings.TrimSpace(token)
		}
	}
	if c.token == "" {
		return "", nil, errors.New("it printed no token")
	}
	p, err := c.trainByUpload(ctx, "neon-sign.zip", zip, trainModel, trainInput)
	if err != nil {
		return "", nil, err
	}
	trained, sums, err := c.succeed(ctx, p.ID)
	if err != nil {
		return "", nil, err
	}
	pictures, err = r.draw(ctx, c, trained.outputs()[0])
	return sums[0], pictures, err
}
