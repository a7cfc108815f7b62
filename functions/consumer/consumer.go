package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	lambdaevents "github.com/aws/aws-lambda-go/events"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lowrank/lowrank/events"
)

// maxFile is more than any concept has, in bytes.
const maxFile = 256 << 20

type consumer struct {
	http   *http.Client
	s3     *s3.Client
	bucket string
}

// handle downloads the output that the event tells of, checks that its SHA-256 is
// the event's, and keeps it. The same event once more does no harm. An error
// brings it again.
func (c consumer) handle(ctx context.Context, event lambdaevents.EventBridgeEvent) error {
	var created events.OutputCreated
	if err := json.Unmarshal(event.Detail, &created); err != nil {
		return err
	}
	body, err := c.download(ctx, created.URL)
	if err != nil {
		return fmt.Errorf("output %s: %w", created.ID, err)
	}
	sum := sha256.Sum256(body)
	if got := hex.EncodeToString(sum[:]); got != created.SHA256 {
		return fmt.Errorf("output %s: the file has the SHA-256 %s, the event says %s", created.ID, got, created.SHA256)
	}
	_, err = c.s3.PutObject(ctx, &s3.PutObjectInput{
		Bucket: &c.bucket, Key: &created.ID, Body: bytes.NewReader(body), ContentType: &created.ContentType,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), // S3 checks what it gets
	})
	return err
}

func (c consumer) download(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the download answered %s", resp.Status)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxFile))
}
