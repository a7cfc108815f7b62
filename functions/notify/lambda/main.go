// Lambda function notify turns changes of jobs, from the table's stream, into
// messages; function deliver sends what they ask for.
// Its event is events/samples/lambda-notify.json.
package main

import (
	"context"
	"log"
	"log/slog"
	"net/http"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/functions/gateway"
	"github.com/lowrank/lowrank/functions/notify"
	"github.com/lowrank/lowrank/infra/aws"
)

func main() {
	store, err := aws.Open(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	n := notify.New(store.Ports(), http.DefaultClient, slog.Default()) // it posts nothing
	lambda.Start(gateway.Changes(n.Change))
}
