// Lambda function submit takes jobs, models and what ends them: every POST and DELETE under /v1 but those of files.
// Its routes are in template.yaml, its event is events/samples/lambda-submit.json.
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
