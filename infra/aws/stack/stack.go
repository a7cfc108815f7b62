// Package stack finds a deployment's resources by the name of its CloudFormation
// stack, for the command line: functions and runners have them in their environment.
package stack

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// Stack is a deployed template.yaml.
type Stack struct {
	Config  lowrankaws.Config
	Outputs map[string]string
}

// Find reads the outputs of the stack with this name, in the region and account
// that sdk names.
func Find(ctx context.Context, sdk aws.Config, name string) (Stack, error) {
	found, err := cloudformation.NewFromConfig(sdk).DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
	if err != nil {
		return Stack{}, fmt.Errorf("stack %q cannot be read in region %q (set AWS_REGION and credentials as for the aws command): %w", name, sdk.Region, err)
	}
	s := Stack{Outputs: map[string]string{}}
	for _, o := range found.Stacks[0].Outputs {
		s.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	s.Config = lowrankaws.Config{
		Bucket: s.Outputs["BucketName"], Table: s.Outputs["TableName"], Bus: s.Outputs["BusName"], Queues: map[string]string{},
		PathStyle: os.Getenv(lowrankaws.PathStyleEnv) == "true",
	}
	if s.Config.Bucket == "" || s.Config.Table == "" {
		return Stack{}, fmt.Errorf("stack %q is no deployment of lowrank: it has no outputs BucketName and TableName", name)
	}
	for _, pair := range strings.Fields(s.Outputs["QueueUrls"]) {
		queue, url, _ := strings.Cut(pair, "=")
		s.Config.Queues[queue] = url
	}
	return s, nil
}

// Open is Find, with the credentials of the environment.
func Open(ctx context.Context, name string) (*lowrankaws.Store, Stack, error) {
	sdk, err := lowrankaws.Load(ctx)
	if err != nil {
		return nil, Stack{}, err
	}
	s, err := Find(ctx, sdk, name)
	if err != nil {
		return nil, Stack{}, err
	}
	return lowrankaws.New(sdk, s.Config), s, nil
}
