package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lowrank/lowrank/infra"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// poison shows where a job ends whose message kills every runner that takes it:
// among the dead letters, and failed for its owner. The runners here are calls that
// take the message and die without a word.
func (r *rehearsal) poison(ctx context.Context) error {
	if err := r.scale(ctx, "TrainingService", 0); err != nil {
		return err
	}
	for len(r.agent.pids()) > 1 {
		if err := infra.Sleep(ctx, infra.SystemClock{}, 200*time.Millisecond); err != nil {
			return err
		}
	}
	var up struct {
		UploadURL  string `json:"upload_url"`
		ServingURL string `json:"serving_url"`
	}
	if err := r.api.do(ctx, http.MethodPost, "/v1/upload/poison.zip", nil, &up); err != nil {
		return err
	}
	if status, err := r.api.put(ctx, up.UploadURL, []byte("PK\x05\x06")); err != nil || status != http.StatusOK {
		return fmt.Errorf("PUT answered %d: %w", status, err)
	}
	var p prediction
	body := map[string]any{"input": map[string]any{"instance_data": up.ServingURL, "task": "style"}}
	if err := r.api.do(ctx, http.MethodPost, "/v1/models/"+trainModel+"/predictions", body, &p); err != nil {
		return err
	}
	queue := lowrankaws.New(r.stack.sdk, r.stack.Config).Ports().Queues.Queue(infra.TrainingQueue)
	// A runner that has just been told to stop may have taken it too: what counts is
	// the queue's own count.
	for d := (infra.Depth{}); d.Dead != 1; {
		messages, err := queue.Receive(ctx, 1, 2*time.Second, time.Second)
		if err != nil {
			return err
		}
		for _, m := range messages {
			if !strings.Contains(string(m.Body), p.ID) || m.Receives > infra.MaxReceives(infra.TrainingQueue) {
				return fmt.Errorf("received %s for the %d. time", m.Body, m.Receives)
			}
		}
		if d, err = queue.Depth(ctx); err != nil {
			return err
		}
	}
	r.say("a message that killed three runners is a dead letter; waiting for the sweep's minute")
	p, err := r.api.wait(ctx, p.ID, nil)
	if err != nil {
		return err
	}
	if p.Status != "failed" || p.Error == "" {
		return fmt.Errorf("the poisoned job is %s: %s", p.Status, p.Error)
	}
	r.say("its job failed for its owner: %s", p.Error)
	return nil
}

// remove drains the runners and deletes the stack; the bucket and the table stay.
func (r *rehearsal) remove(ctx context.Context) error {
	r.stopAgent()
	s := r.stack
	if err := s.remove(ctx, stackName); err != nil {
		return err
	}
	if _, err := dynamodb.NewFromConfig(s.sdk).DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(s.Outputs["TableName"])}); err != nil {
		return errors.Join(errors.New("the table went with the stack"), err)
	}
	bucket := s3.NewFromConfig(s.sdk, func(o *s3.Options) { o.UsePathStyle = true })
	if _, err := bucket.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(s.Outputs["BucketName"])}); err != nil {
		return errors.Join(errors.New("the bucket went with the stack"), err)
	}
	r.say("the stack is deleted; the bucket and the table are kept")
	return nil
}
