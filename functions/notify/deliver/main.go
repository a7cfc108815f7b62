// Lambda function deliver posts webhooks and publishes lowrank.output.created, as
// the messages of function notify ask. Its event is events/samples/lambda-deliver.json.
package main

import (
	"context"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/functions/gateway"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws"
	"github.com/lowrank/lowrank/infra/fetch"
)

func main() {
	store, err := aws.Open(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	ports := store.Ports()
	reach := fetch.Options{AllowLoopback: os.Getenv("LOWRANK_ALLOW_LOOPBACK") == "true"} // scripts/rehearse sets it, template.yaml does not
	n := notify.New(ports, fetch.WebhookClient(reach, 5*time.Second), slog.Default())
	lambda.Start(gateway.Queue(ports.Queues.Queue(infra.WebhookQueue), n.Handle))
}
