package aws_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/lowrank/lowrank/infra/aws/emulator"
	"github.com/lowrank/lowrank/infra/infratest"

	lowrankaws "github.com/lowrank/lowrank/infra/aws"
)

// TestStoreOnDynamoDBLocal asks Amazon's own DynamoDB for a second opinion on what
// the table does: conditions, indexes, order, the stream.
func TestStoreOnDynamoDBLocal(t *testing.T) {
	sdk := startDynamoDBLocal(t)
	groups := []string{"Jobs", "JobIndex", "Logs", "Changes", "Documents"}
	infratest.Run(t, func(t *testing.T) infratest.Adapter {
		if group := strings.Split(t.Name(), "/")[1]; !slices.Contains(groups, group) {
			t.Skip("no matter of DynamoDB; TestConformance has it")
		}
		c := lowrankaws.Config{Table: unique()}
		makeTable(t, sdk, c.Table)
		return infratest.Adapter{Ports: lowrankaws.New(sdk, c).Ports()}
	})
}

// startDynamoDBLocal runs what scripts/rehearse/install dynamodb put into .cache.
func startDynamoDBLocal(t *testing.T) aws.Config {
	t.Helper()
	root, err := emulator.Root()
	if err != nil {
		t.Fatal(err)
	}
	lib := filepath.Join(root, ".cache", "aws", "dynamodb", "lib")
	if _, err := os.Stat(lib); err != nil {
		const why = "DynamoDB Local is not installed; run scripts/rehearse/install dynamodb"
		if emulator.Required("emulator") {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(ctx, "java", "-Xmx512m", "-Dsqlite4java.library.path="+lib, "-cp", lib+"/*",
		"com.amazonaws.services.dynamodbv2.local.main.ServerRunner", "-inMemory", "-disableTelemetry", "-port", fmt.Sprint(port))
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", port)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(url); err == nil {
			resp.Body.Close()
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("DynamoDB Local did not answer within a minute")
		}
	}
	t.Setenv("AWS_REGION", emulator.Region)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	sdk, err := lowrankaws.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sdk.BaseEndpoint, sdk.Credentials = &url, credentials.NewStaticCredentialsProvider("local", "local", "")
	return sdk
}
