package local

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/lowrank/lowrank/infra"
)

// bucket is the bucket's name in notifications.
const bucket = "lowrank-local"

// notified reports whether puts of key are notified.
func notified(key string) bool {
	for _, prefix := range infra.ObjectPrefixes {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// objectCreated is the message S3 would send for info: event structure 2.1 of
// the S3 user guide, "Event message structure".
func objectCreated(info infra.BlobInfo, seq int64) ([]byte, error) {
	type object map[string]any
	return json.Marshal(object{"Records": []object{{
		"eventVersion": "2.1",
		"eventSource":  "aws:s3",
		"awsRegion":    "local",
		"eventTime":    info.Modified.UTC().Format("2006-01-02T15:04:05.000Z"),
		"eventName":    "ObjectCreated:Put",
		"userIdentity": object{"principalId": "lowrank"},
		"requestParameters": object{
			"sourceIPAddress": "127.0.0.1",
		},
		"responseElements": object{"x-amz-request-id": info.Generation},
		"s3": object{
			"s3SchemaVersion": "1.0",
			"configurationId": "objects",
			"bucket": object{
				"name":          bucket,
				"ownerIdentity": object{"principalId": "lowrank"},
				"arn":           "arn:aws:s3:::" + bucket,
			},
			"object": object{
				"key":       encodeKey(info.Key),
				"size":      info.Size,
				"eTag":      info.ETag,
				"versionId": info.Generation,
				"sequencer": fmt.Sprintf("%016X", seq),
			},
		},
	}}})
}

// encodeKey writes a key as notifications do: each segment as in an HTML form
// (a space is +), the slashes as they are.
func encodeKey(key string) string {
	segments := strings.Split(key, "/")
	for i := range segments {
		segments[i] = url.QueryEscape(segments[i])
	}
	return strings.Join(segments, "/")
}
