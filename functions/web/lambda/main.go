// Lambda function web answers with pages, and with the API to what no other
// function's route matches: OPTIONS, QUERY, methods and paths that are not there.
// Its event is events/samples/lambda-web.json.
package main

import (
	"context"
	"log"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/lowrank/lowrank/functions/gateway"
)

func main() {
	site, err := gateway.Web(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	lambda.Start(gateway.HTTP(site))
}
