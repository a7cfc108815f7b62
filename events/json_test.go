package events

import "testing"

// TestRoundTrip holds that what a client sends is shown as JSON.stringify would write it, for receivers that
// check a signature over a body that they have parsed and written again.
func TestRoundTrip(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":7.0,"b":[0.70,1e3],"c":{"d":-0.5e-7}}`: `{"a":7,"b":[0.7,1000],"c":{"d":-5e-8}}`,
		`{"seed":9007199254740993}`:                  `{"seed":9007199254740993}`,
		`{"p":"<1> & \u2028\u2029"}`:                 "{\"p\":\"<1> & \u2028\u2029\"}",
		`{"p":"\\u2028 \\\\u2028 \\\u2028 \"\\"}`:    "{\"p\":\"\\\\u2028 \\\\\\\\u2028 \\\\\u2028 \\\"\\\\\"}",
		`{"p":"\n\t\u0001\u007f"}`:                   "{\"p\":\"\\n\\t\\u0001\u007f\"}",
	} {
		o, err := ParseObject([]byte(body))
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		if got, err := Marshal(o); err != nil || string(got) != want {
			t.Errorf("%s became\n%s, want\n%s (%v)", body, got, want, err)
		}
	}
}
