package main

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/lowrank/lowrank/infra"
)

// consumerStack is the example of a user's own stack in docs/aws.md: infra/consumer.yaml.
const consumerStack = "listener"

func (r *rehearsal) deployConsumer(ctx context.Context) error {
	err := r.stack.deploy(ctx, "infra/consumer.yaml", "", "Architecture="+architecture(), "ForcePathStyle=true")
	if err == nil {
		r.say("deployed a stack that listens to the bus")
	}
	return err
}

// consumed waits until the listening stack has kept a checked copy of an output.
func (r *rehearsal) consumed(ctx context.Context, id, sha256 string) error {
	out, err := cloudformation.NewFromConfig(r.stack.sdk).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: aws.String(consumerStack)})
	if err != nil {
		return err
	}
	copies := *out.Stacks[0].Outputs[0].OutputValue
	bucket := s3.NewFromConfig(r.stack.sdk, func(o *s3.Options) { o.UsePathStyle = true })
	for deadline := time.Now().Add(time.Minute); ; {
		head, err := bucket.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &copies, Key: &id, ChecksumMode: types.ChecksumModeEnabled})
		if err == nil {
			sum, _ := base64.StdEncoding.DecodeString(aws.ToString(head.ChecksumSHA256))
			if hex.EncodeToString(sum) != sha256 {
				return fmt.Errorf("the listening stack kept another file under %s", id)
			}
			r.say("lowrank.output.created reached the listening stack, which kept a checked copy")
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("no copy of %s came within a minute: %w", id, err)
		}
		if err := infra.Sleep(ctx, infra.SystemClock{}, 300*time.Millisecond); err != nil {
			return err
		}
	}
}
