package aws

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/lowrank/lowrank/infra"
)

// blobs implements infra.Blobs and infra.Presigner over one versioned bucket.
type blobs Store

var (
	_ infra.Blobs     = (*blobs)(nil)
	_ infra.Presigner = (*blobs)(nil)
)

const defaultType = "application/octet-stream"

// conflictTries is how often a conditional put of a small object is repeated when
// another one is under way. Each waits a little longer than the one before.
const conflictTries = 8

// Put implements infra.Blobs. Bodies of at most partSize are one request, whose
// SHA-256 S3 checks and keeps; larger ones are uploaded in parts.
func (b *blobs) Put(ctx context.Context, key string, body io.Reader, o infra.PutOptions) (infra.BlobInfo, error) {
	const op = "blobs.Put"
	if err := errors.Join(infra.CheckKey(key), infra.CheckMetadata(o.Metadata)); err != nil {
		return infra.BlobInfo{}, err
	}
	if o.ContentType == "" {
		o.ContentType = defaultType
	}
	in := &source{ctx: ctx, body: body, max: o.MaxSize, hash: sha256.New()}
	buf := buffers.Get().(*[partSize]byte)
	defer buffers.Put(buf)
	first, err := in.part(buf[:])
	if err != nil {
		return infra.BlobInfo{}, readFailed(op, key, err)
	}
	var put placed
	if in.ended {
		put, err = b.putWhole(ctx, key, first, in.hash.Sum(nil), o)
	} else {
		put, err = b.putParts(ctx, key, buf, first, in, o)
	}
	if err != nil {
		return infra.BlobInfo{}, readFailed(op, key, err)
	}
	return infra.BlobInfo{
		Key: key, Generation: put.version, Size: in.size, ETag: put.etag, SHA256: hex.EncodeToString(in.hash.Sum(nil)),
		ContentType: o.ContentType, Metadata: o.Metadata, Modified: b.clock.Now().UTC(),
	}, nil
}

// placed is what S3 calls a stored object.
type placed struct{ version, etag string }

func placedAs(version, etag *string) placed {
	return placed{aws.ToString(version), strings.Trim(aws.ToString(etag), `"`)}
}

func (b *blobs) putWhole(ctx context.Context, key string, body, sum []byte, o infra.PutOptions) (placed, error) {
	for try := 1; ; try++ {
		out, err := b.s3.PutObject(ctx, &s3.PutObjectInput{
			Bucket: &b.config.Bucket, Key: &key, Body: bytes.NewReader(body), ContentLength: aws.Int64(int64(len(body))),
			ContentType: &o.ContentType, Metadata: o.Metadata, IfNoneMatch: ifNoneMatch(o),
			ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum)),
		})
		if err == nil {
			return placedAs(out.VersionId, out.ETag), nil
		}
		if !isConflict(err) || try == conflictTries {
			return placed{}, err
		}
		if err := infra.Sleep(ctx, b.clock, time.Duration(try)*25*time.Millisecond); err != nil {
			return placed{}, err
		}
	}
}

func ifNoneMatch(o infra.PutOptions) *string {
	if o.IfAbsent {
		return aws.String("*")
	}
	return nil
}

// bodyError is a failure of the caller's body: nothing of S3's.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// readFailed is failed, that leaves a body's own error as it is.
func readFailed(op, key string, err error) error {
	var body *bodyError
	if errors.As(err, &body) {
		return &infra.Error{Op: op, Kind: infra.KindOf(body.err), Key: key, Err: err}
	}
	return failed(op, key, err)
}

// PresignPut implements infra.Presigner. The URL is signed with the caller's own
// credentials and ends with them at the latest: a Lambda's last for hours. S3
// cannot limit the size of what is put, so maxSize is left to the notification's
// receiver.
func (b *blobs) PresignPut(ctx context.Context, key string, ttl time.Duration, maxSize int64) (string, error) {
	const op = "presigner.PresignPut"
	if err := infra.CheckKey(key); err != nil {
		return "", err
	}
	if ttl <= 0 || ttl > maxTTL {
		return "", invalid(op, key, "a time to live of %v, it must be above 0 and at most %v", ttl, maxTTL)
	}
	req, err := b.presign.PresignPutObject(ctx, &s3.PutObjectInput{Bucket: &b.config.Bucket, Key: &key}, s3.WithPresignExpires(ttl))
	if err != nil {
		return "", failed(op, key, err)
	}
	return req.URL, nil
}

// maxTTL is the limit of signature version 4.
const maxTTL = 7 * 24 * time.Hour
