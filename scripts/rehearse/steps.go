package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// uploadedBase is the base model that the rehearsal adds.
const uploadedBase = "uploaded"

// deploy deploys template.yaml as it is, as docs/aws.md says, and makes a token.
func (r *rehearsal) deploy(ctx context.Context, apiURL, contentURL string) error {
	s := r.stack
	err := s.deploy(ctx, "template.yaml", runnerImage, "Architecture="+architecture(), "MachineImage="+imageName,
		"PublicUrl="+apiURL, "OutputsUrl="+contentURL, "AlarmEmail=alarms@example.com", "ForcePathStyle=true", "ManageCapacity=false")
	if err != nil {
		return err
	}
	if err := errors.Join(s.find(ctx), s.mend(ctx)); err != nil {
		return err
	}
	types, err := s.types(ctx, stackName)
	if err != nil {
		return err
	}
	if types["AWS::ApiGatewayV2::Route"] < 20 || types["AWS::Lambda::Function"] != 8 {
		return fmt.Errorf("the stack has %d routes and %d functions", types["AWS::ApiGatewayV2::Route"], types["AWS::Lambda::Function"])
	}
	text, err := os.ReadFile(filepath.Join(s.root, "infra", "runners.yaml"))
	if err != nil {
		return err
	}
	dropped := conditional(string(text), "Managed")
	missing, err := s.lacks(ctx, dropped)
	if err != nil {
		return err
	}
	slices.Sort(missing)
	if !slices.Equal(dropped, missing) {
		return fmt.Errorf("ManageCapacity=false drops %v, but the emulator lacks only %v of them", dropped, missing)
	}
	if r.api.token, err = s.lowrank(ctx, "token", "create", "--aws", stackName); err != nil {
		return err
	}
	r.say("deployed; left out, because the emulator lacks them: %s", strings.Join(dropped, ", "))
	return nil
}

// conditional lists the types of the resources that a condition holds, sorted.
func conditional(template, condition string) []string {
	var types []string
	lines := strings.Split(template, "\n")
	for i, line := range lines {
		if line != "    Condition: "+condition {
			continue
		}
		if kind, ok := strings.CutPrefix(lines[i-1], "    Type: "); ok && !slices.Contains(types, kind) {
			types = append(types, kind)
		}
	}
	slices.Sort(types)
	return types
}

// startRunners lets the ECS agent start what the services want: at first a runner
// that draws and none that trains. Then it adds a base model.
func (r *rehearsal) startRunners(ctx context.Context) error {
	if err := r.expect(ctx, http.StatusServiceUnavailable); err != nil {
		return fmt.Errorf("before the first runner: %w", err)
	}
	s := r.stack
	r.agent = &agent{
		ecs: ecs.NewFromConfig(s.sdk), sts: sts.NewFromConfig(s.sdk), cluster: s.Outputs["ClusterName"],
		binary: filepath.Join(s.root, "bin", "gpurunner"), dir: r.dir,
		env: []string{"AWS_ENDPOINT_URL=" + s.emu.URL, "AWS_CA_BUNDLE=" + s.tls.files.CA, "SSL_CERT_FILE=" + s.tls.files.CA},
	}
	if err := r.agent.start(ctx); err != nil {
		return err
	}
	for err := errors.New("not asked"); err != nil; {
		if err = r.expect(ctx, http.StatusOK); err != nil {
			select {
			case <-ctx.Done():
				return err
			case <-time.After(300 * time.Millisecond):
			}
		}
	}
	r.say("the warm runner has registered its base model; the API answers")
	// The embedded model once more, as one that is uploaded: what both draw must be the same.
	if _, err := s.lowrank(ctx, "base", "add", "--aws", stackName, uploadedBase, "gpurunner/base/embedded/model"); err != nil {
		return err
	}
	return nil
}

// expect asks the API for something small.
func (r *rehearsal) expect(ctx context.Context, want int) error {
	status, body, err := r.api.raw(ctx, http.MethodGet, "/v1/account", nil)
	if err == nil && status != want {
		err = fmt.Errorf("GET /v1/account answered %d, want %d: %.300s", status, want, body)
	}
	return err
}

func (r *rehearsal) stopAgent() {
	if r.agent != nil {
		r.agent.stop()
		r.agent = nil
	}
}

// scale sets how many runners train, as the scaling policies do by the queue's depth.
func (r *rehearsal) scale(ctx context.Context, service string, n int32) error {
	_, err := r.agent.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{
		Cluster: aws.String(r.agent.cluster), Service: aws.String(r.stack.Outputs[service]), DesiredCount: &n,
	})
	return err
}

// limits shows that the platform's limits are answered as docs/contract.md says.
func (r *rehearsal) limits(ctx context.Context) error {
	big := func(n int) map[string]any {
		return map[string]any{"version": "replicate/lora", "input": map[string]any{"prompt": strings.Repeat("x", n)}}
	}
	for _, n := range []int{5 << 20, 7 << 20, 11 << 20} {
		status, body, err := r.api.raw(ctx, http.MethodPost, "/v1/predictions", big(n))
		if err != nil || status != http.StatusRequestEntityTooLarge {
			return fmt.Errorf("a body of %d bytes was answered %d, want 413 (%.200s): %w", n, status, body, err)
		}
		if n < 6<<20 && !strings.Contains(string(body), "POST /v1/upload") {
			return fmt.Errorf("a body of %d bytes was refused without a hint: %s", n, body)
		}
	}
	begun := time.Now()
	var p prediction // for the training queue, which no runner serves yet
	body := map[string]any{"version": "replicate/lora-training", "input": map[string]any{"instance_data": "data:application/zip;base64,UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="}}
	if err := r.api.do(ctx, http.MethodPost, "/v1/predictions", body, &p, "Prefer", "wait"); err != nil {
		return err
	}
	if took := time.Since(begun); p.Status != "starting" || took < 20*time.Second || p.URLs.Stream != "" {
		return fmt.Errorf("Prefer: wait answered %q after %v, stream %q; want starting after some 22 s and no stream", p.Status, took, p.URLs.Stream)
	}
	if err := r.api.do(ctx, http.MethodPost, p.URLs.Cancel, nil, &p); err != nil || p.Status != "canceled" {
		return fmt.Errorf("cancel answered %q: %w", p.Status, err)
	}
	r.say("6 MB and 10 MB are refused with 413; Prefer: wait answers starting before 30 s")
	return nil
}
