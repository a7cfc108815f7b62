package aws

import (
	"bytes"
	"context"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/lowrank/lowrank/infra"
)

const (
	// partSize is the size of one request in bytes. S3 takes 10,000 parts of an
	// object, so this allows 80 GB.
	partSize = 8 << 20
	// partsAtOnce is how many parts are on their way together; each holds a buffer.
	partsAtOnce = 3
)

// buffers holds parts between uploads: most objects are small, and a buffer each
// would be most of what a runner allocates.
var buffers = sync.Pool{New: func() any { return new([partSize]byte) }}

// source reads a body in parts, measures and hashes it.
type source struct {
	ctx   context.Context
	body  io.Reader
	max   int64 // bytes allowed; 0 is no limit
	hash  hash.Hash
	size  int64
	ended bool
}

// part fills buf as far as the body goes.
func (s *source) part(buf []byte) ([]byte, error) {
	n := 0
	for n < len(buf) {
		if err := s.ctx.Err(); err != nil {
			return nil, err
		}
		m, err := s.body.Read(buf[n:])
		n += m
		if s.max > 0 && s.size+int64(n) > s.max {
			return nil, tooLarge("blobs.Put", "", s.size+int64(n), s.max)
		}
		if err == io.EOF {
			s.ended = true
			break
		}
		if err != nil {
			return nil, &bodyError{err}
		}
	}
	s.size += int64(n)
	s.hash.Write(buf[:n])
	return buf[:n], nil
}

// putParts uploads first and what follows it, and makes all of it visible at once.
// On failure nothing of it is seen, and the parts are dropped.
func (b *blobs) putParts(ctx context.Context, key string, firstBuf *[partSize]byte, first []byte, in *source, o infra.PutOptions) (placed, error) {
	up, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &b.config.Bucket, Key: &key, ContentType: &o.ContentType, Metadata: o.Metadata,
	})
	if err != nil {
		return placed{}, err
	}
	parts, err := b.sendParts(ctx, key, up.UploadId, firstBuf, first, in)
	if err == nil {
		var out *s3.CompleteMultipartUploadOutput
		out, err = b.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
			Bucket: &b.config.Bucket, Key: &key, UploadId: up.UploadId, IfNoneMatch: ifNoneMatch(o),
			MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
		})
		if err == nil {
			return placedAs(out.VersionId, out.ETag), nil
		}
	}
	// What cannot be dropped now, the bucket's own rule drops after a day.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	_, _ = b.s3.AbortMultipartUpload(end, &s3.AbortMultipartUploadInput{Bucket: &b.config.Bucket, Key: &key, UploadId: up.UploadId})
	return placed{}, err
}

// sendParts reads on while earlier parts are on their way. firstBuf, which holds
// first, stays the caller's but is written again.
func (b *blobs) sendParts(ctx context.Context, key string, id *string, firstBuf *[partSize]byte, first []byte, in *source) ([]types.CompletedPart, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	free := make(chan *[partSize]byte, partsAtOnce)
	for range partsAtOnce - 1 {
		free <- nil // taken when it is needed
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	var parts []types.CompletedPart
	send := func(number int32, buf *[partSize]byte, data []byte) {
		defer wg.Done()
		out, err := b.s3.UploadPart(ctx, &s3.UploadPartInput{
			Bucket: &b.config.Bucket, Key: &key, UploadId: id, PartNumber: &number,
			Body: bytes.NewReader(data), ContentLength: aws.Int64(int64(len(data))),
		})
		if err != nil {
			cancel(err)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		for int(number) > len(parts) {
			parts = append(parts, types.CompletedPart{})
		}
		parts[number-1] = types.CompletedPart{PartNumber: &number, ETag: out.ETag,
			ChecksumCRC32: out.ChecksumCRC32, ChecksumCRC64NVME: out.ChecksumCRC64NVME, ChecksumSHA256: out.ChecksumSHA256}
		free <- buf
	}
	mine := []*[partSize]byte{}
	defer func() {
		wg.Wait() // no part may still be read when its buffer goes to another
		for _, buf := range mine {
			buffers.Put(buf)
		}
	}()
	buf, data := firstBuf, first
	for number := int32(1); len(data) > 0; number++ {
		wg.Add(1)
		go send(number, buf, data)
		if in.ended {
			break
		}
		var next *[partSize]byte
		select {
		case next = <-free:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		if next == nil {
			next = buffers.Get().(*[partSize]byte)
			mine = append(mine, next)
		}
		piece, err := in.part(next[:])
		if err != nil {
			cancel(err)
			return nil, err
		}
		buf, data = next, piece
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	return parts, nil
}
