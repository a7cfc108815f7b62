package aws_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"

	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws/emulator"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// makeResources makes a store of its own for one test, as template.yaml does.
func makeResources(t *testing.T, root aws.Config) lowrankaws.Config {
	t.Helper()
	name := unique()
	c := lowrankaws.Config{Bucket: name, Table: name, Bus: "default", PathStyle: true, Queues: map[string]string{}}
	makeTable(t, root, c.Table)
	queues := sqs.NewFromConfig(root)
	for _, queue := range []string{infra.PredictionQueue, infra.TrainingQueue, infra.ObjectQueue, infra.WebhookQueue} {
		dead, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name + "-" + queue + "-dead")})
		if err != nil {
			t.Fatal(err)
		}
		live, err := queues.CreateQueue(t.Context(), &sqs.CreateQueueInput{QueueName: aws.String(name + "-" + queue), Attributes: map[string]string{
			"RedrivePolicy": fmt.Sprintf(`{"deadLetterTargetArn": %q, "maxReceiveCount": %d}`, queueArn(name+"-"+queue+"-dead"), infra.MaxReceives(queue)),
			"Policy": fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "sqs:SendMessage",
				"Resource": %q, "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::%s"}}}]}`, queueArn(name+"-"+queue), name),
		}})
		if err != nil {
			t.Fatal(err)
		}
		c.Queues[queue], c.Queues[queue+"-dead"] = *live.QueueUrl, *dead.QueueUrl
	}
	makeBucket(t, root, name, queueArn(name+"-"+infra.ObjectQueue))
	if err := drainTestEvents(t.Context(), queues, c.Queues[infra.ObjectQueue]); err != nil {
		t.Fatal(err)
	}
	return c
}

func queueArn(name string) string {
	return "arn:aws:sqs:" + emulator.Region + ":" + emulator.Account + ":" + name
}

func makeBucket(t *testing.T, root aws.Config, name, queue string) {
	t.Helper()
	client := s3.NewFromConfig(root, func(o *s3.Options) { o.UsePathStyle = true })
	var ours *s3types.BucketAlreadyOwnedByYou // as with the table
	if _, err := client.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &name}); err != nil && !errors.As(err, &ours) {
		t.Fatal(err)
	}
	if _, err := client.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{Bucket: &name,
		VersioningConfiguration: &s3types.VersioningConfiguration{Status: s3types.BucketVersioningStatusEnabled}}); err != nil {
		t.Fatal(err)
	}
	notifications := &s3types.NotificationConfiguration{}
	for _, prefix := range infra.ObjectPrefixes {
		notifications.QueueConfigurations = append(notifications.QueueConfigurations, s3types.QueueConfiguration{
			Events: []s3types.Event{"s3:ObjectCreated:*"}, QueueArn: &queue,
			Filter: &s3types.NotificationConfigurationFilter{Key: &s3types.S3KeyFilter{FilterRules: []s3types.FilterRule{{Name: s3types.FilterRuleNamePrefix, Value: aws.String(prefix)}}}},
		})
	}
	if _, err := client.PutBucketNotificationConfiguration(t.Context(), &s3.PutBucketNotificationConfigurationInput{Bucket: &name, NotificationConfiguration: notifications}); err != nil {
		t.Fatal(err)
	}
}

// makeTable makes the table with its indexes and stream.
func makeTable(t *testing.T, root aws.Config, name string) {
	t.Helper()
	in := &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: ddb.BillingModePayPerRequest,
		KeySchema:           keySchema("pk", "sk"),
		StreamSpecification: &ddb.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: ddb.StreamViewTypeNewAndOldImages},
	}
	for _, attr := range []string{"pk", "sk", "owner", "owner_kind", "open_owner", "upload", "at", "due_set", "due_at"} {
		in.AttributeDefinitions = append(in.AttributeDefinitions, ddb.AttributeDefinition{AttributeName: aws.String(attr), AttributeType: ddb.ScalarAttributeTypeS})
	}
	for _, ix := range [][3]string{{"by-owner", "owner", "at"}, {"by-owner-kind", "owner_kind", "at"}, {"open-by-owner", "open_owner", "at"}, {"by-upload", "upload", "at"}, {"by-due", "due_set", "due_at"}} {
		in.GlobalSecondaryIndexes = append(in.GlobalSecondaryIndexes, ddb.GlobalSecondaryIndex{
			IndexName: aws.String(ix[0]), KeySchema: keySchema(ix[1], ix[2]), Projection: &ddb.Projection{ProjectionType: ddb.ProjectionTypeKeysOnly},
		})
	}
	var ours *ddb.ResourceInUseException // the name is no one else's: an answer was lost, and the SDK asked again
	if _, err := dynamodb.NewFromConfig(root).CreateTable(t.Context(), in); err != nil && !errors.As(err, &ours) {
		t.Fatal(err)
	}
}

func keySchema(hash, at string) []ddb.KeySchemaElement {
	return []ddb.KeySchemaElement{{AttributeName: &hash, KeyType: ddb.KeyTypeHash}, {AttributeName: &at, KeyType: ddb.KeyTypeRange}}
}
