// Lambda function consumer is an example of a stack of one's own that listens to
// lowrank: infra/consumer.yaml gives it every lowrank.output.created, it downloads
// the file, and keeps it in its own bucket. S3 checks the SHA-256 that the event
// tells; a file with another one is refused, and the event comes again.
// Its event is events/samples/lambda-consumer.json.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	lambdaevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lowrank/lowrank/events"
)

// maxFile is more than any concept has, in bytes.
const maxFile = 256 << 20

type consumer struct {
	s3     *s3.Client
	bucket string
}

func (c consumer) handle(ctx context.Context, event lambdaevents.EventBridgeEvent) error {
	var created events.OutputCreated
	if err := json.Unmarshal(event.Detail, &created); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, created.URL, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("output %s: the download answered %s", created.ID, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxFile))
	if err != nil {
		return err
	}
	sum, err := hex.DecodeString(created.SHA256)
	if err != nil {
		return err
	}
	// Once more under the same name does no harm: an event may come twice.
	_, err = c.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &c.bucket, Key: &created.ID, Body: bytes.NewReader(body), ContentType: &created.ContentType,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum)),
	})
	return err
}

func main() {
	sdk, err := awsconfig.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	c := consumer{bucket: os.Getenv("BUCKET"), s3: s3.NewFromConfig(sdk, func(o *s3.Options) { o.UsePathStyle = os.Getenv("S3_FORCE_PATH_STYLE") == "true" })}
	lambda.Start(c.handle)
}
