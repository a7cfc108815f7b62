// Lambda function status answers every GET under /v1.
// Its routes are in template.yaml, its event is events/samples/lambda-status.json.
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
