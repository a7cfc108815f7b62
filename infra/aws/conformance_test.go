package aws_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws/emulator"
	"github.com/lowrank/lowrank/infra/infratest"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// TestConformance holds the adapter to the ports' suite, under a role whose policy
// allows what the adapter needs and no more.
func TestConformance(t *testing.T) {
	sdk, root := startEmulator(t)
	infratest.Run(t, func(t *testing.T) infratest.Adapter {
		store := lowrankaws.New(sdk, makeResources(t, root))
		return infratest.Adapter{Ports: store.Ports(), SizeNotSigned: true}
	})
}

// startEmulator returns the SDK's configuration for a role that may use the
// adapter's resources, and for the root who makes them.
func startEmulator(t *testing.T) (role, root aws.Config) {
	t.Helper()
	if _, err := emulator.Find(); err != nil {
		if emulator.Required("emulator") {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	e, err := emulator.Start(t.Context(), emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Error(err)
		}
	})
	t.Setenv("AWS_ENDPOINT_URL", e.URL)
	t.Setenv("AWS_REGION", emulator.Region)
	t.Setenv("AWS_ACCESS_KEY_ID", emulator.RootKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", emulator.RootKey)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	if root, err = lowrankaws.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	root.BaseEndpoint = &e.URL
	return assume(t, root, e.URL, "lowrank", adapterPolicy), root
}

// adapterPolicy is all that the adapter does. The emulator has two habits of its
// own: it takes calls of the stream for calls of no resource, and it knows the
// batch form of ChangeMessageVisibility as an action, which AWS does not.
const adapterPolicy = `{"Version": "2012-10-17", "Statement": [
	{"Effect": "Allow", "Resource": "arn:aws:s3:::lowrank-*", "Action": ["s3:ListBucket", "s3:ListBucketVersions"]},
	{"Effect": "Allow", "Resource": "arn:aws:s3:::lowrank-*/*", "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion"]},
	{"Effect": "Allow", "Resource": "arn:aws:sqs:*:*:lowrank-*", "Action": ["sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility*", "sqs:GetQueueAttributes"]},
	{"Effect": "Allow", "Resource": "arn:aws:dynamodb:*:*:table/lowrank-*", "Action": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:Query", "dynamodb:DescribeTable"]},
	{"Effect": "Allow", "Resource": "arn:aws:dynamodb:*:*:table/lowrank-*/index/*", "Action": ["dynamodb:Query"]},
	{"Effect": "Allow", "Resource": "*", "Action": ["dynamodb:DescribeStream", "dynamodb:GetShardIterator", "dynamodb:GetRecords"]},
	{"Effect": "Allow", "Resource": "arn:aws:events:*:*:event-bus/default", "Action": ["events:PutEvents"]}]}`

// assume makes a role with the policy and returns a configuration with its credentials.
func assume(t *testing.T, root aws.Config, endpoint, name, policy string) aws.Config {
	t.Helper()
	const trust = `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}]}`
	iam(t, endpoint, url.Values{"Action": {"CreateRole"}, "RoleName": {name}, "AssumeRolePolicyDocument": {trust}})
	iam(t, endpoint, url.Values{"Action": {"PutRolePolicy"}, "RoleName": {name}, "PolicyName": {"all"}, "PolicyDocument": {policy}})
	arn := "arn:aws:iam::" + emulator.Account + ":role/" + name
	out, err := sts.NewFromConfig(root).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("test")})
	if err != nil {
		t.Fatal(err)
	}
	sdk := root.Copy()
	sdk.Credentials = credentials.NewStaticCredentialsProvider(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	return sdk
}

// iam calls IAM as the root, whose signature is not looked at: a client for four
// calls would be a module more.
func iam(t *testing.T, endpoint string, form url.Values) {
	t.Helper()
	form.Set("Version", "2010-05-08")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+emulator.RootKey+"/20250101/"+emulator.Region+"/iam/aws4_request, SignedHeaders=host, Signature=none")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("IAM %s answered %s", form.Get("Action"), resp.Status)
	}
}

// drainTestEvents takes the messages that S3 sends when notifications are set up,
// one for each prefix.
func drainTestEvents(ctx context.Context, client *sqs.Client, queue string) error {
	left := len(infra.ObjectPrefixes)
	for deadline := time.Now().Add(10 * time.Second); left > 0 && time.Now().Before(deadline); {
		out, err := client.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &queue, WaitTimeSeconds: 1})
		if err != nil {
			return err
		}
		for _, m := range out.Messages {
			if _, err := client.DeleteMessage(ctx, &sqs.DeleteMessageInput{QueueUrl: &queue, ReceiptHandle: m.ReceiptHandle}); err != nil {
				return err
			}
			if strings.Contains(aws.ToString(m.Body), "s3:TestEvent") {
				left--
			}
		}
	}
	if left == 0 {
		return nil
	}
	return fmt.Errorf("%d s3:TestEvents did not come in 10 s", left)
}

// unique makes a resource's name.
func unique() string {
	b := make([]byte, 6)
	rand.Read(b)
	return "lowrank-" + hex.EncodeToString(b)
}
