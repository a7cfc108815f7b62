package aws

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go/logging"

	"github.com/lowrank/lowrank/infra"
)

// Config names the resources of one deployment.
type Config struct {
	Bucket string
	Table  string
	Bus    string            // an event bus's name or ARN
	Queues map[string]string // URL by queue name; the dead letters of "x" are in "x-dead"

	// PathStyle puts the bucket in the path of S3's URLs rather than in the host,
	// for stores that have one host name only.
	PathStyle bool
}

// The environment variables that FromEnv reads; template.yaml sets them.
const (
	BucketEnv    = "LOWRANK_BUCKET"
	TableEnv     = "LOWRANK_TABLE"
	BusEnv       = "LOWRANK_BUS"
	QueuesEnv    = "LOWRANK_QUEUES" // "predictions=https://… predictions-dead=https://… …"
	PathStyleEnv = "S3_FORCE_PATH_STYLE"
)

// FromEnv reads a Config from the environment. Credentials, region and endpoints
// are the SDK's own variables.
func FromEnv() (Config, error) {
	c := Config{
		Bucket: os.Getenv(BucketEnv), Table: os.Getenv(TableEnv), Bus: os.Getenv(BusEnv),
		Queues: map[string]string{}, PathStyle: os.Getenv(PathStyleEnv) == "true",
	}
	for name, value := range map[string]string{BucketEnv: c.Bucket, TableEnv: c.Table} {
		if value == "" {
			return c, fmt.Errorf("the environment variable %s is not set; template.yaml sets it for functions and runners", name)
		}
	}
	for _, pair := range strings.Fields(os.Getenv(QueuesEnv)) {
		name, url, ok := strings.Cut(pair, "=")
		if !ok {
			return c, fmt.Errorf("%s holds %q, which is not name=URL", QueuesEnv, pair)
		}
		c.Queues[name] = url
	}
	return c, nil
}

// attempts is how often the SDK makes a call in all. With its pauses that is about
// ten seconds of throttling, more than a burst and less than a lease.
const attempts = 8

// Load reads the SDK's configuration with this package's retries.
func Load(ctx context.Context) (aws.Config, error) {
	retryer := func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts = attempts
			o.MaxBackoff = 4 * time.Second
		})
	}
	// The SDK warns of connections that a canceled call leaves: of no use to an operator.
	quiet := logging.LoggerFunc(func(_ logging.Classification, format string, args ...any) {
		slog.Debug("aws", "sdk", fmt.Sprintf(format, args...))
	})
	return awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRetryer(retryer), awsconfig.WithLogger(quiet))
}

// Store is one deployment's resources; Ports gives its ports. Safe for concurrent use.
type Store struct {
	config    Config
	s3        *s3.Client
	presign   *s3.PresignClient
	sqs       *sqs.Client
	dynamo    *dynamodb.Client
	streams   *dynamodbstreams.Client
	bus       *eventbridge.Client
	clock     infra.Clock
	streamArn streamArn
}

// New makes a Store. It calls nothing: that costs a cold start no time, and an
// absent resource shows when it is used.
func New(sdk aws.Config, c Config) *Store {
	s := &Store{
		config: c, clock: infra.SystemClock{},
		s3: s3.NewFromConfig(sdk, func(o *s3.Options) {
			o.UsePathStyle = c.PathStyle
			o.DisableLogOutputChecksumValidationSkipped = true // objects that others put carry none
		}),
		sqs:     sqs.NewFromConfig(sdk),
		dynamo:  dynamodb.NewFromConfig(sdk, impatient),
		streams: dynamodbstreams.NewFromConfig(sdk),
		bus:     eventbridge.NewFromConfig(sdk),
	}
	s.presign = s3.NewPresignClient(s3.NewFromConfig(sdk, func(o *s3.Options) {
		o.UsePathStyle = c.PathStyle
		o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired // clients send bytes and nothing else
	}))
	return s
}

// tablePatience is how long an answer of the table may take before the call is made
// again on another connection: it takes milliseconds, and a connection that is dead
// without a word would hold a function until its end.
const tablePatience = 4 * time.Second

func impatient(o *dynamodb.Options) {
	if client, ok := o.HTTPClient.(*awshttp.BuildableClient); ok {
		o.HTTPClient = client.WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = tablePatience })
	}
}

// Open is FromEnv, Load and New: what mains call.
func Open(ctx context.Context) (*Store, error) {
	c, err := FromEnv()
	if err != nil {
		return nil, err
	}
	sdk, err := Load(ctx)
	if err != nil {
		return nil, err
	}
	return New(sdk, c), nil
}

// Ports is the store as the set that handlers and runners take.
func (s *Store) Ports() infra.Ports {
	return infra.Ports{
		Blobs: (*blobs)(s), Presigner: (*blobs)(s), Queues: (*queues)(s),
		Jobs: (*jobs)(s), Index: (*jobs)(s), Logs: (*logs)(s), Changes: (*changes)(s),
		Documents: (*documents)(s), Events: (*events)(s), Clock: s.clock,
	}
}
