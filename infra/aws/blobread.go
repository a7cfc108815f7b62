package aws

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/lowrank/lowrank/infra"
)

// Stat implements infra.Blobs.
func (b *blobs) Stat(ctx context.Context, key, generation string) (infra.BlobInfo, error) {
	out, err := b.s3.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &b.config.Bucket, Key: &key, VersionId: optional(generation), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return infra.BlobInfo{}, notThere("blobs.Stat", key, generation, err)
	}
	return infra.BlobInfo{
		Key: key, Generation: aws.ToString(out.VersionId), Size: aws.ToInt64(out.ContentLength), ETag: strings.Trim(aws.ToString(out.ETag), `"`),
		SHA256: wholeSum(out.ChecksumSHA256, out.ChecksumType), ContentType: aws.ToString(out.ContentType), Metadata: out.Metadata,
		Modified: aws.ToTime(out.LastModified).UTC(),
	}, nil
}

// wholeSum is the hex SHA-256 that S3 keeps of an object put in one piece.
func wholeSum(sum *string, kind types.ChecksumType) string {
	raw, err := base64.StdEncoding.DecodeString(aws.ToString(sum))
	if err != nil || len(raw) != 32 || kind == types.ChecksumTypeComposite {
		return ""
	}
	return hex.EncodeToString(raw)
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// notThere is failed for reads. An answer to HEAD has no body, so no code either:
// its status must do. A generation that S3 could not have given is one that is not
// there; so is one that is a delete marker (405).
func notThere(op, key, generation string, err error) error {
	switch s := status(err); {
	case s == http.StatusNotFound && !strings.Contains(err.Error(), "NoSuchBucket"),
		s == http.StatusMethodNotAllowed, s == http.StatusBadRequest && generation != "":
		return &infra.Error{Op: op, Kind: infra.ErrNotFound, Key: key}
	}
	return failed(op, key, err)
}

// Get implements infra.Blobs.
func (b *blobs) Get(ctx context.Context, key string, o infra.GetOptions) (*infra.Blob, error) {
	const op = "blobs.Get"
	if o.Offset < 0 || o.Length < 0 {
		return nil, invalid(op, key, "range of %d bytes from %d", o.Length, o.Offset)
	}
	in := &s3.GetObjectInput{Bucket: &b.config.Bucket, Key: &key, VersionId: optional(o.Generation)}
	switch {
	case o.Length > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", o.Offset, o.Offset+o.Length-1))
	case o.Offset > 0:
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", o.Offset))
	}
	out, err := b.s3.GetObject(ctx, in)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		if o.Offset > 0 {
			return nil, invalid(op, key, "the range begins at byte %d, behind the object's end", o.Offset)
		}
		in.Range = nil // an empty object has no range at all
		out, err = b.s3.GetObject(ctx, in)
	}
	if err != nil {
		return nil, notThere(op, key, o.Generation, err)
	}
	size, err := wholeSize(out)
	if err != nil {
		return nil, errors.Join(failed(op, key, err), out.Body.Close())
	}
	return &infra.Blob{
		BlobInfo: infra.BlobInfo{
			Key: key, Generation: aws.ToString(out.VersionId), Size: size, ETag: strings.Trim(aws.ToString(out.ETag), `"`),
			SHA256: wholeSum(out.ChecksumSHA256, out.ChecksumType), ContentType: aws.ToString(out.ContentType), Metadata: out.Metadata,
			Modified: aws.ToTime(out.LastModified).UTC(),
		},
		Body: &blobBody{key: key, body: out.Body, left: aws.ToInt64(out.ContentLength)},
	}, nil
}

// wholeSize is the size of the object that an answer holds a range of.
func wholeSize(out *s3.GetObjectOutput) (int64, error) {
	if out.ContentRange == nil {
		return aws.ToInt64(out.ContentLength), nil
	}
	_, total, _ := strings.Cut(*out.ContentRange, "/")
	size, err := strconv.ParseInt(total, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("Content-Range %q has no size", *out.ContentRange)
	}
	return size, nil
}

// blobBody takes a connection that ends early for the error that it is, and says
// that the store failed, not the reader.
type blobBody struct {
	key  string
	body io.ReadCloser
	left int64
}

func (r *blobBody) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.left -= int64(n)
	if err == io.EOF && r.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && err != io.EOF {
		err = failed("blobs.Get", r.key, err)
	}
	return n, err
}

func (r *blobBody) Close() error { return r.body.Close() }

// Delete implements infra.Blobs: all versions and delete markers of the key.
func (b *blobs) Delete(ctx context.Context, key string) error {
	const op = "blobs.Delete"
	for {
		out, err := b.s3.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: &b.config.Bucket, Prefix: &key})
		if err != nil {
			return failed(op, key, err)
		}
		// The key sorts before all longer ones that begin with it, so its versions
		// come first, and what is left of them comes first in the next listing.
		var gone []types.ObjectIdentifier
		for _, v := range out.Versions {
			if aws.ToString(v.Key) == key {
				gone = append(gone, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
			}
		}
		for _, v := range out.DeleteMarkers {
			if aws.ToString(v.Key) == key {
				gone = append(gone, types.ObjectIdentifier{Key: v.Key, VersionId: v.VersionId})
			}
		}
		if len(gone) == 0 {
			return nil
		}
		del, err := b.s3.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: &b.config.Bucket, Delete: &types.Delete{Objects: gone, Quiet: aws.Bool(true)}})
		if err != nil {
			return failed(op, key, err)
		}
		for _, e := range del.Errors {
			return failed(op, key, fmt.Errorf("version %s: %s", aws.ToString(e.VersionId), aws.ToString(e.Code)))
		}
		if !aws.ToBool(out.IsTruncated) {
			return nil
		}
	}
}

// List implements infra.Blobs.
func (b *blobs) List(ctx context.Context, prefix, after string, limit int) (infra.Page[infra.BlobInfo], error) {
	const op = "blobs.List"
	var page infra.Page[infra.BlobInfo]
	if limit <= 0 || limit > 1000 {
		limit = 1000
	}
	mark := scope("blobs", prefix)
	last, err := parseCursor(op, after, mark)
	if err != nil {
		return page, err
	}
	out, err := b.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{
		Bucket: &b.config.Bucket, Prefix: &prefix, StartAfter: optional(last), MaxKeys: aws.Int32(int32(limit)),
	})
	if err != nil {
		return page, failed(op, prefix, err)
	}
	for _, o := range out.Contents {
		page.Items = append(page.Items, infra.BlobInfo{
			Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ETag: strings.Trim(aws.ToString(o.ETag), `"`), Modified: aws.ToTime(o.LastModified).UTC(),
		})
	}
	if aws.ToBool(out.IsTruncated) && len(page.Items) > 0 {
		page.Next = cursor{Scope: mark, Last: []byte(page.Items[len(page.Items)-1].Key)}.String()
	}
	return page, nil
}
