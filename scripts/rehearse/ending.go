package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/samples"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// endings sends a poison job and, while it goes its slow way, does what else there
// is to do: the comparison with `lowrank serve`, the client scripts.
func (r *rehearsal) endings(ctx context.Context, withClients bool) error {
	if err := r.scale(ctx, "TrainingService", 2); err != nil { // one for the poison to kill
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.poison(ctx) })
	group.Go(func() error {
		if r.made != nil && r.served != nil {
			if err := r.compare(ctx); err != nil {
				return err
			}
		}
		if withClients {
			return r.clients(ctx)
		}
		return nil
	})
	return group.Wait()
}

// poison shows where a job ends whose message kills every runner that takes it:
// among the dead letters, and failed for its owner.
func (r *rehearsal) poison(ctx context.Context) error {
	zip, err := samples.Zip(samples.NeonSign)
	if err != nil {
		return err
	}
	p, err := r.api.trainByUpload(ctx, "poison.zip", zip, trainModel, trainInput)
	if err != nil {
		return err
	}
	killed := 0
	p, err = r.api.wait(ctx, p.ID, func(*prediction) bool {
		found, err := r.agent.signal(p.ID, syscall.SIGKILL)
		if err == nil && found {
			killed++
		}
		return err != nil
	})
	if err != nil {
		return err
	}
	if p.Status != "failed" || p.Error == "" || killed != events.MaxCrashes {
		return fmt.Errorf("the poison job is %s after %d runners: %s", p.Status, killed, p.Error)
	}
	r.say("the poison job killed %d runners and failed for its owner: %s", killed, p.Error)
	queue := lowrankaws.New(r.stack.sdk, r.stack.Config).Ports().Queues.Queue(infra.TrainingQueue)
	for {
		letters, err := queue.DeadLetters(ctx, 1000)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(letters, func(m infra.Message) bool { return strings.Contains(string(m.Body), p.ID) }) {
			r.say("its message is among the dead letters")
			return nil
		}
		if err := infra.Sleep(ctx, infra.SystemClock{}, time.Second); err != nil {
			return err
		}
	}
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
