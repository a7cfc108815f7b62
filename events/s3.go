package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// ObjectCreated says that an object of the store can be read. It may arrive twice, late, or after a
// newer one of the same key.
type ObjectCreated struct {
	Bucket     string
	Key        string // as the object is named: decoded
	Generation string // S3's version id; "" on a bucket without versions
	Size       int64  // bytes
	ETag       string // without quotes
	Sequencer  string // orders the events of one key: compare padded to equal length
	Time       Time
}

// ErrNoNotification says that a message is no S3 notification. Trying again does not help.
var ErrNoNotification = errors.New("not an S3 notification")

type s3Object struct {
	Key       string `json:"key"`
	Size      int64  `json:"size"`
	ETag      string `json:"eTag"`
	ETagBus   string `json:"etag"`
	VersionID string `json:"versionId"`
	VersionBu string `json:"version-id"`
	Sequencer string `json:"sequencer"`
}

type s3Record struct {
	EventName   string `json:"eventName"`
	EventSource string `json:"eventSource"`
	EventTime   Time   `json:"eventTime"`
	S3          struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object s3Object `json:"object"`
	} `json:"s3"`
}

// ParseObjectCreated reads S3's notification in each form it has: Records (several in one message,
// their keys URL-encoded with + for a space), the EventBridge event (keys as they are), and
// s3:TestEvent, which S3 sends when the notification is set up and which holds no object. Events
// other than creations are left out. Errors are ErrNoNotification.
//
// Source: Amazon S3 User Guide, "Event message structure" and "EventBridge event message structure".
func ParseObjectCreated(body []byte) ([]ObjectCreated, error) {
	var m struct {
		Records    []s3Record `json:"Records"`
		Event      string     `json:"Event"`
		Source     string     `json:"source"`
		DetailType string     `json:"detail-type"`
		Time       Time       `json:"time"`
		Detail     struct {
			Bucket struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object s3Object `json:"object"`
		} `json:"detail"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%w: it is not the JSON that S3 sends", ErrNoNotification)
	}
	switch {
	case m.Event == "s3:TestEvent":
		return nil, nil
	case m.Source == "aws.s3":
		if m.DetailType != "Object Created" {
			return nil, nil
		}
		o := m.Detail.Object
		return checked([]ObjectCreated{{Bucket: m.Detail.Bucket.Name, Key: o.Key, Generation: o.VersionBu, Size: o.Size, ETag: strings.Trim(o.ETagBus, `"`), Sequencer: o.Sequencer, Time: m.Time}})
	case len(m.Records) > 0:
		var out []ObjectCreated
		for _, r := range m.Records {
			if r.EventSource != "aws:s3" || !strings.HasPrefix(r.EventName, "ObjectCreated:") {
				continue
			}
			key, err := url.QueryUnescape(r.S3.Object.Key)
			if err != nil {
				return nil, fmt.Errorf("%w: a key is not URL-encoded", ErrNoNotification)
			}
			o := r.S3.Object
			out = append(out, ObjectCreated{Bucket: r.S3.Bucket.Name, Key: key, Generation: o.VersionID, Size: o.Size, ETag: strings.Trim(o.ETag, `"`), Sequencer: o.Sequencer, Time: r.EventTime})
		}
		return checked(out)
	}
	return nil, ErrNoNotification
}

func checked(objects []ObjectCreated) ([]ObjectCreated, error) {
	for _, o := range objects {
		if o.Key == "" || o.Size < 0 {
			return nil, fmt.Errorf("%w: an object has no key or a negative size", ErrNoNotification)
		}
	}
	return objects, nil
}

// S3Notification writes objects the way S3 notifies a queue, keys URL-encoded. The embedded store
// sends it, so that both stores speak one language.
func S3Notification(objects ...ObjectCreated) []byte {
	type object struct {
		Key       string `json:"key"`
		Size      int64  `json:"size"`
		ETag      string `json:"eTag"`
		VersionID string `json:"versionId,omitempty"`
		Sequencer string `json:"sequencer,omitempty"`
	}
	type record struct {
		EventVersion string `json:"eventVersion"`
		EventSource  string `json:"eventSource"`
		EventTime    Time   `json:"eventTime"`
		EventName    string `json:"eventName"`
		S3           struct {
			SchemaVersion string `json:"s3SchemaVersion"`
			Bucket        struct {
				Name string `json:"name"`
			} `json:"bucket"`
			Object object `json:"object"`
		} `json:"s3"`
	}
	m := struct {
		Records []record `json:"Records"`
	}{[]record{}}
	for _, o := range objects {
		r := record{EventVersion: "2.1", EventSource: "aws:s3", EventTime: o.Time, EventName: "ObjectCreated:Put"}
		r.S3.SchemaVersion, r.S3.Bucket.Name = "1.0", o.Bucket
		r.S3.Object = object{Key: strings.ReplaceAll(url.QueryEscape(o.Key), "%2F", "/"), Size: o.Size, ETag: o.ETag, VersionID: o.Generation, Sequencer: o.Sequencer}
		m.Records = append(m.Records, r)
	}
	b, err := Marshal(m)
	if err != nil {
		panic(err) // no field of it can fail to marshal
	}
	return b
}
