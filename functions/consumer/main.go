// Lambda function consumer is an example of a stack of one's own that listens to
// lowrank: infra/consumer.yaml gives it every lowrank.output.created, it downloads
// the file, checks it, and keeps it in its own bucket.
// Its event is events/samples/lambda-consumer.json.
package main

import (
	"context"
	"log"
	"net/http"
	"os"

	"github.com/aws/aws-lambda-go/lambda"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

func main() {
	sdk, err := awsconfig.LoadDefaultConfig(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	client := s3.NewFromConfig(sdk, func(o *s3.Options) { o.UsePathStyle = os.Getenv("S3_FORCE_PATH_STYLE") == "true" })
	lambda.Start(consumer{http: http.DefaultClient, s3: client, bucket: os.Getenv("BUCKET")}.handle)
}
