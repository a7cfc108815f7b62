package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lowrank/lowrank/infra/aws/emulator"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
	awsstack "github.com/lowrank/lowrank/infra/aws/stack"
)

// stackName is the deployment's in docs/aws.md.
const (
	stackName = "lowrank"
	imageName = "/rehearsal/machine-image"
	// runnerImage is what the agent takes for the runner's binary.
	runnerImage = emulator.Account + ".dkr.ecr." + emulator.Region + ".amazonaws.com/lowrank:rehearsal"
)

// stack is the account that the emulator plays, as its root.
type stack struct {
	root string // of the checkout
	dir  string // of the rehearsal
	tls  *authority
	emu  *emulator.Emulator
	sdk  aws.Config
	awsstack.Stack
}

// newStack prepares the account.
func newStack(ctx context.Context, root, dir string, a *authority, emu *emulator.Emulator) (*stack, error) {
	sdk, err := lowrankaws.Load(ctx)
	if err != nil {
		return nil, err
	}
	sdk.Region, sdk.BaseEndpoint, sdk.HTTPClient = emulator.Region, &emu.URL, a.client()
	sdk.Credentials = credentials.NewStaticCredentialsProvider(emulator.RootKey, emulator.RootKey, "")
	s := &stack{root: root, dir: dir, tls: a, emu: emu, sdk: sdk}
	return s, s.putParameter(ctx, imageName, "ami-00000000")
}

// putParameter writes a parameter of Systems Manager, which on AWS holds the
// newest machine image.
func (s *stack) putParameter(ctx context.Context, name, value string) error {
	body := fmt.Sprintf(`{"Name": %q, "Value": %q, "Type": "String"}`, name, value)
	return s.call(ctx, "ssm", http.MethodPost, "/", []byte(body), nil, "Content-Type", "application/x-amz-json-1.1", "X-Amz-Target", "AmazonSSM.PutParameter")
}

// call calls a service for which a client would be a module more, as the root,
// whose signature is not looked at. The answer's JSON is read into v.
func (s *stack) call(ctx context.Context, service, method, path string, body []byte, v any, headers ...string) error {
	req, err := http.NewRequestWithContext(ctx, method, s.emu.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+emulator.RootKey+"/20250101/"+emulator.Region+"/"+service+"/aws4_request, SignedHeaders=host, Signature=none")
	resp, err := s.tls.client().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s %s answered %s", service, method, path, resp.Status)
	}
	if v == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(v)
}

// function is the name of a function by its name in the template.
func (s *stack) function(ctx context.Context, logical string) (string, error) {
	out, err := cloudformation.NewFromConfig(s.sdk).DescribeStackResource(ctx, &cloudformation.DescribeStackResourceInput{
		StackName: aws.String(stackName), LogicalResourceId: &logical,
	})
	if err != nil {
		return "", err
	}
	return aws.ToString(out.StackResourceDetail.PhysicalResourceId), nil
}

// serves reports whether the bucket holds what a path of the content network names.
func (s *stack) serves(ctx context.Context, path string) bool {
	if !strings.HasPrefix(path, "/uploads/") {
		path = "/outputs" + path
	}
	bucket := s3.NewFromConfig(s.sdk, func(o *s3.Options) { o.UsePathStyle = true })
	_, err := bucket.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(s.Outputs["BucketName"]), Key: aws.String(path[1:])})
	return err == nil
}

// allowLoopback lets webhooks reach this machine, which the deployment refuses: the
// client scripts receive theirs here.
func (s *stack) allowLoopback(ctx context.Context) error {
	name, err := s.function(ctx, "DeliverFunction")
	if err != nil {
		return err
	}
	path := "/2015-03-31/functions/" + name + "/configuration"
	var c struct {
		Environment struct{ Variables map[string]string }
	}
	if err := s.call(ctx, "lambda", http.MethodGet, path, nil, &c); err != nil {
		return err
	}
	if len(c.Environment.Variables) == 0 {
		return fmt.Errorf("function %s has no environment", name)
	}
	c.Environment.Variables["LOWRANK_ALLOW_LOOPBACK"] = "true"
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return s.call(ctx, "lambda", http.MethodPut, path, body, nil, "Content-Type", "application/json")
}

// deploy gives the command that docs/aws.md tells people to deploy a template with,
// and more parameters. image is what it calls "$IMAGE".
func (s *stack) deploy(ctx context.Context, template, image string, parameters ...string) error {
	text, err := os.ReadFile(filepath.Join(s.root, "docs", "aws.md"))
	if err != nil {
		return err
	}
	command := documented(string(text), "sam deploy --template-file "+template+" ")
	if !strings.Contains(command, " --parameter-overrides ") {
		return fmt.Errorf("docs/aws.md does not say how to deploy %s with parameters", template)
	}
	cmd := exec.CommandContext(ctx, "bash", "-c", command+" "+strings.Join(parameters, " "))
	cmd.Dir = s.root
	tools := filepath.Join(s.root, ".cache", "aws", "tools", "bin")
	cmd.Env = append(s.env(), "PATH="+tools+string(os.PathListSeparator)+os.Getenv("PATH"), "IMAGE="+image, "SAM_CLI_TELEMETRY=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", command, err, tail(out, 4000))
	}
	return nil
}

// documented is the command in a text that begins so, with the lines that go on with it.
func documented(text, begin string) string {
	_, rest, found := strings.Cut(text, "\n"+begin)
	command := begin
	for line := range strings.Lines(rest) {
		more, goesOn := strings.CutSuffix(strings.TrimRight(line, "\n"), "\\")
		command += more
		if !goesOn {
			break
		}
	}
	if !found {
		return ""
	}
	return command
}

// lowrank runs our own command line on the stack and returns what it prints.
func (s *stack) lowrank(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.root, "bin", "lowrank"), args...)
	cmd.Dir = s.root
	cmd.Env = append(s.env(), "AWS_REGION="+emulator.Region, lowrankaws.PathStyleEnv+"=true")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return "", fmt.Errorf("lowrank %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

// env is the environment of a user at the command line, with the root's key.
func (s *stack) env() []string {
	return append(os.Environ(),
		"AWS_ENDPOINT_URL="+s.emu.URL, "AWS_CA_BUNDLE="+s.tls.files.CA, "AWS_DEFAULT_REGION="+emulator.Region, "HOME="+s.dir,
		"AWS_ACCESS_KEY_ID="+emulator.RootKey, "AWS_SECRET_ACCESS_KEY="+emulator.RootKey, "AWS_EC2_METADATA_DISABLED=true")
}

func tail(b []byte, n int) []byte { return b[max(0, len(b)-n):] }

// architecture is this machine's, as Lambda calls it.
func architecture() string {
	if runtime.GOARCH == "arm64" {
		return "arm64"
	}
	return "x86_64"
}

// find reads what the stack made.
func (s *stack) find(ctx context.Context) (err error) {
	s.Stack, err = awsstack.Find(ctx, s.sdk, stackName)
	s.Config.PathStyle = true
	return err
}

// mend does by calls what the emulator leaves out of a template without a word.
func (s *stack) mend(ctx context.Context) error {
	_, err := dynamodb.NewFromConfig(s.sdk).UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               aws.String(s.Outputs["TableName"]),
		TimeToLiveSpecification: &ddb.TimeToLiveSpecification{AttributeName: aws.String("expires"), Enabled: aws.Bool(true)},
	})
	return err
}

// types are the resource types of a deployed stack, and how many there are of each.
func (s *stack) types(ctx context.Context, name string) (map[string]int, error) {
	found := map[string]int{}
	in := &cloudformation.ListStackResourcesInput{StackName: &name}
	for {
		out, err := cloudformation.NewFromConfig(s.sdk).ListStackResources(ctx, in)
		if err != nil {
			return nil, err
		}
		for _, r := range out.StackResourceSummaries {
			found[aws.ToString(r.ResourceType)]++
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return found, nil
		}
	}
}

// lacks lists the resource types that the emulator has no handler for.
func (s *stack) lacks(ctx context.Context, types []string) ([]string, error) {
	python, err := emulator.Find()
	if err != nil {
		return nil, err
	}
	const ask = `import json,sys
from ministack.services.cloudformation.provisioners import _RESOURCE_HANDLERS as h
print(json.dumps([t for t in sys.argv[1:] if t not in h]))`
	out, err := exec.CommandContext(ctx, python, append([]string{"-c", ask}, types...)...).Output()
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var missing []string
	return missing, json.Unmarshal([]byte(lines[len(lines)-1]), &missing)
}

// remove deletes a stack and waits until it is gone.
func (s *stack) remove(ctx context.Context, name string) error {
	client := cloudformation.NewFromConfig(s.sdk)
	if _, err := client.DeleteStack(ctx, &cloudformation.DeleteStackInput{StackName: &name}); err != nil {
		return err
	}
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		out, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &name})
		if err != nil || len(out.Stacks) == 0 {
			return nil // it is not there
		}
		if out.Stacks[0].StackStatus == "DELETE_COMPLETE" {
			return nil
		}
	}
	return errors.New("the stack was not deleted within two minutes")
}
