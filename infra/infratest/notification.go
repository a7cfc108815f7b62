package infratest

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/lowrank/lowrank/infra"
)

// object is what an S3 event notification says of the object it is about.
type object struct {
	Key, VersionID, ETag string
	Size                 int64
}

// notification receives one message from the object queue, checks its form and
// acknowledges it.
func notification(t *testing.T, a Adapter) object {
	t.Helper()
	q := a.Queues.Queue(infra.ObjectQueue)
	m := receive(t, q, 1, time.Minute)[0]
	must(t, q.Ack(t.Context(), m.Receipt))
	var event struct {
		Records []struct {
			EventSource, EventName string
			EventTime              time.Time
			S3                     struct {
				Bucket struct{ Name string }
				Object object
			}
		}
	}
	must(t, json.Unmarshal(m.Body, &event))
	if len(event.Records) != 1 {
		t.Fatalf("notification has %d records: %s", len(event.Records), m.Body)
	}
	r := event.Records[0]
	if r.EventSource != "aws:s3" || len(r.EventName) < 14 || r.EventName[:14] != "ObjectCreated:" || r.S3.Bucket.Name == "" || r.EventTime.IsZero() {
		t.Errorf("not an S3 event of an object created: %s", m.Body)
	}
	key, err := url.QueryUnescape(r.S3.Object.Key)
	must(t, err)
	r.S3.Object.Key = key
	return r.S3.Object
}

func testBlobNotification(t *testing.T, a Adapter) {
	put(t, a.Blobs, unique("tests/quiet-"), "no one hears of this")
	for _, prefix := range infra.ObjectPrefixes {
		info := put(t, a.Blobs, unique(prefix+"é 100%+|/"), "hello")
		want := object{Key: info.Key, VersionID: info.Generation, ETag: info.ETag, Size: 5}
		if got := notification(t, a); got != want {
			t.Errorf("notified of %+v, want %+v", got, want)
		}
		must(t, a.Blobs.Delete(t.Context(), info.Key))
	}
	none(t, a.Queues.Queue(infra.ObjectQueue))
}
