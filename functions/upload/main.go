// Lambda function upload makes places for files: POST /v1/upload/{name} and /v1/files.
// Its routes are in template.yaml, its event is events/samples/lambda-upload.json.
package main

import (
	"context"
	"log"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/functions/gateway"
)

func main() {
	api, err := gateway.API(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(gateway.HTTP(api))
}
