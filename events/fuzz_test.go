package events

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// addSamples seeds a target with the golden samples.
func addSamples(f *testing.F, pattern string) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		f.Fatal(err)
	}
	for _, n := range names {
		b, err := os.ReadFile(n)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

func FuzzParseObject(f *testing.F) {
	addSamples(f, "samples/*.json")
	for _, s := range []string{"", "{", `{"a":1e999}`, "{\"a\":\"\xff\"}", `{"a":{"a":{}}}`, "{}{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseObject(b)
		if err != nil {
			return
		}
		if _, err := Marshal(o); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
	})
}

func FuzzParseObjectCreated(f *testing.F) {
	addSamples(f, "samples/s3-*.json")
	f.Add([]byte(`{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put","s3":{"object":{"key":"%"}}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		objects, err := ParseObjectCreated(b)
		if err != nil {
			return
		}
		for _, o := range objects {
			if o.Key == "" || o.Size < 0 {
				t.Errorf("taken: %+v", o)
			}
			if !utf8.ValidString(o.Key) {
				continue // JSON cannot carry it back
			}
			again, err := ParseObjectCreated(S3Notification(o))
			if err != nil || len(again) != 1 || again[0].Key != o.Key {
				t.Errorf("%q came back as %v, %v", o.Key, again, err)
			}
		}
	})
}

func FuzzParseMessages(f *testing.F) {
	addSamples(f, "samples/run-job.json")
	addSamples(f, "samples/deliver-*.json")
	f.Add([]byte(`{"type":"job.run","id":"../../x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := ParseRunJob(b); err == nil && !ValidID(string(m.ID)) {
			t.Errorf("taken: %+v", m)
		}
		if m, err := ParseDeliver(b); err == nil && !ValidID(string(m.ID)) {
			t.Errorf("taken: %+v", m)
		}
	})
}

func FuzzJobRecord(f *testing.F) {
	addSamples(f, "samples/job-*.json")
	f.Fuzz(func(t *testing.T, b []byte) {
		var j Job
		if json.Unmarshal(b, &j) != nil {
			return
		}
		if _, err := Marshal(j.View("")); err != nil {
			t.Errorf("a record that can be read cannot be shown: %v", err)
		}
		_ = j.Start("h", noon.Time, time.Second)
		_ = j.Expire(noon.Add(time.Hour))
		j.Announcements()
	})
}

func FuzzParseDataURL(f *testing.F) {
	for _, s := range []string{"data:,", "data:;base64,YQ==", "data:text/plain;base64,%59Q", "data:x", "data:;base64,*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if _, b, ok := ParseDataURL(s); ok && len(b) > len(s) {
			t.Errorf("%d bytes out of %d", len(b), len(s))
		}
	})
}

func FuzzParseRef(f *testing.F) {
	for _, s := range []string{"a", "o/n", "o/n:v", ":", "/", "o/n/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, ok := ParseRef(s)
		if !ok {
			return
		}
		back := r.ID
		if r.Owner != "" {
			back = r.Owner + "/" + r.Name
			if r.ID != "" {
				back += ":" + r.ID
			}
		}
		if back != s {
			t.Errorf("%q came back as %q", s, back)
		}
	})
}

func FuzzParseLists(f *testing.F) {
	for _, s := range []string{"0.5", "1|2", "|", "NaN", "1e400", " 1 | -2 "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if scales, ok := ParseScales(s); ok && len(scales) != len(SplitList(s)) {
			t.Errorf("%d scales of %d parts", len(scales), len(SplitList(s)))
		}
		ParseProgress(s)
		if n := ConceptName(s); len(n) > 100 || strings.ContainsAny(n, "/\\. |") {
			t.Errorf("name %q", n)
		}
	})
}

func FuzzParseTime(f *testing.F) {
	for _, s := range []string{`"2023-02-07T12:00:00Z"`, "null", `""`, `"2023-02-07T12:00:00.123456789+02:00"`, "5"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, c Time
		if a.UnmarshalJSON(b) != nil {
			return
		}
		text, err := a.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if a.Year() < 0 || a.Year() > 9999 {
			return // RFC 3339 has four digits; an offset may lead beyond
		}
		if err := c.UnmarshalJSON(text); err != nil || !c.Equal(a.Time) {
			t.Errorf("%s came back as %v, %v", text, c, err)
		}
	})
}

func FuzzValidateInput(f *testing.F) {
	for _, s := range []string{"{}", `{"prompt":"<1>","width":64}`, `{"instance_data":"data:,x","seed":null}`, `{"lora_urls":"https://x|","lora_scales":"1|2"}`, `{"base":"sd15","resolution":1e2}`, `{"image":"http://[::1"}`} {
		f.Add([]byte(s))
	}
	c := testCatalogue(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := ParseObject(b)
		if err != nil {
			return
		}
		for _, p := range []Program{ProgramTraining, ProgramAdvancedTraining, ProgramLora} {
			known, v, err := c.Validate(c.Versions(p)[0], o)
			if err != nil {
				if len(err.Error()) < 5 || !strings.HasSuffix(err.Error(), "\n") {
					t.Errorf("an empty reason: %q", err)
				}
				continue
			}
			text, err := Marshal(known)
			if err != nil {
				t.Fatal(err)
			}
			j := Job{Program: p, Base: v.Base.Name, Input: text}
			into := map[Program]any{ProgramTraining: &TrainingInput{}, ProgramAdvancedTraining: &AdvancedInput{}, ProgramLora: &LoraInput{}}[p]
			if err := j.DecodeInput(v.Base, into); err != nil {
				t.Errorf("a valid input cannot be decoded: %v: %s", err, text)
			}
		}
	})
}
