// Lambda function ingest takes S3's notifications from their queue.
// Its event is events/samples/lambda-ingest.json.
package main

import (
	"context"
	"log"
	"log/slog"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/functions/gateway"
	"github.com/lowrank/lowrank/functions/ingest"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws"
)

func main() {
	store, err := aws.Open(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	ports := store.Ports()
	in := ingest.New(ports, gateway.MaxUpload, slog.Default())
	lambda.Start(gateway.Queue(ports.Queues.Queue(infra.ObjectQueue), in.Handle))
}
