package events

import (
	"errors"
	"os"
	"slices"
	"testing"
)

func TestParseObjectCreated(t *testing.T) {
	tests := []struct {
		sample string
		keys   []string
	}{
		{"s3-put", []string{"uploads/2tkjrhvum2242qwqse2ha6f72c/Bob Ross 50% #1 é画.zip"}},
		{"s3-several", []string{"uploads/a/first.zip", "outputs/pbxt/x/a+b.png"}},
		{"s3-eventbridge", []string{"uploads/a/50% a+b é.zip"}},
		{"s3-test-event", nil},
	}
	for _, tt := range tests {
		t.Run(tt.sample, func(t *testing.T) {
			b, err := os.ReadFile("samples/" + tt.sample + ".json")
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseObjectCreated(b)
			if err != nil {
				t.Fatal(err)
			}
			var keys []string
			for _, o := range got {
				keys = append(keys, o.Key)
				if o.ETag == "" || o.Bucket != "lowrank-data" || o.Sequencer == "" || o.Time.IsZero() {
					t.Errorf("incomplete: %+v", o)
				}
			}
			if !slices.Equal(keys, tt.keys) {
				t.Errorf("got %q, want %q", keys, tt.keys)
			}
		})
	}
	for name, body := range map[string]string{
		"ErrSyntax": "{", "ErrEmpty": "{}", "ErrList": "[]", "ErrOther": `{"Event":"x"}`, "ErrNoRecords": `{"Records":[]}`,
		"ErrKey":   `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"object":{"key":"%zz"}}}]}`,
		"ErrNoKey": `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"object":{"key":""}}}]}`,
		"ErrSize":  `{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"object":{"key":"a","size":-1}}}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := ParseObjectCreated([]byte(body)); !errors.Is(err, ErrNoNotification) {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

func TestS3NotificationRoundTrip(t *testing.T) {
	want := []ObjectCreated{
		{Bucket: "b", Key: "uploads/x/a b+c%d é画?#.zip", Generation: "g", Size: 5, ETag: "e", Sequencer: "01", Time: noon},
		{Bucket: "b", Key: "k", Time: noon},
	}
	b := S3Notification(want...)
	validate(t, "s3_notification", b)
	got, err := ParseObjectCreated(b)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}
