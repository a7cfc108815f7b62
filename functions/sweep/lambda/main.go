// Lambda function sweep is called by the clock, every minute.
// Its event is events/samples/lambda-sweep.json.
package main

import (
	"context"
	"log"
	"log/slog"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/functions/sweep"
	"github.com/lowrank/lowrank/infra/aws"
)

func main() {
	store, err := aws.Open(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(sweep.New(store.Ports(), 0, slog.Default()).Sweep)
}
