package events

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestTransitions(t *testing.T) {
	const lease = 30 * time.Second
	at := func(s int) time.Time { return noon.Add(time.Duration(s) * time.Second) }
	out := []OutputObject{{Key: "k"}}
	tests := []struct {
		name string
		do   func(j *Job) error
		err  error
		want Status
	}{
		{"OK/Succeed", func(j *Job) error { return errors.Join(j.Start("a", at(1), lease), j.Succeed("a", at(2), out, "")) }, nil, Succeeded},
		{"OK/Fail", func(j *Job) error { return errors.Join(j.Start("a", at(1), lease), j.Fail("a", at(2), "why")) }, nil, Failed},
		{"OK/CancelQueued", func(j *Job) error { return j.Cancel(at(1)) }, nil, Canceled},
		{"OK/CancelRunning", func(j *Job) error { return errors.Join(j.Start("a", at(1), lease), j.Cancel(at(2))) }, nil, Canceled},
		{"OK/StartAgainSameHolder", func(j *Job) error { return errors.Join(j.Start("a", at(1), lease), j.Start("a", at(2), lease)) }, nil, Processing},
		{"OK/TakeOver", func(j *Job) error { return errors.Join(j.Start("a", at(1), lease), j.Start("b", at(31), lease)) }, nil, Processing},
		{"OK/HandBack", func(j *Job) error {
			return errors.Join(j.Start("a", at(1), lease), j.HandBack("a"), j.Start("b", at(2), lease))
		}, nil, Processing},
		{"ErrLeased", func(j *Job) error { _ = j.Start("a", at(1), lease); return j.Start("b", at(30), lease) }, ErrLeased, Processing},
		{"ErrLeaseLost", func(j *Job) error {
			_ = j.Start("a", at(1), lease)
			_ = j.Start("b", at(40), lease)
			return j.Succeed("a", at(41), out, "")
		}, ErrLeaseLost, Processing},
		{"ErrRenewLost", func(j *Job) error {
			_ = j.Start("a", at(1), lease)
			_ = j.HandBack("a")
			return j.Renew("a", at(2), lease)
		}, ErrLeaseLost, Processing},
		{"ErrSucceedCanceled", func(j *Job) error {
			_ = j.Start("a", at(1), lease)
			_ = j.Cancel(at(2))
			return j.Succeed("a", at(3), out, "")
		}, ErrTerminal, Canceled},
		{"ErrCancelSucceeded", func(j *Job) error {
			_ = j.Start("a", at(1), lease)
			_ = j.Succeed("a", at(2), out, "")
			return j.Cancel(at(3))
		}, ErrTerminal, Succeeded},
		{"ErrStartEnded", func(j *Job) error { _ = j.Cancel(at(1)); return j.Start("a", at(2), lease) }, ErrTerminal, Canceled},
		{"ErrGiveUpEnded", func(j *Job) error { _ = j.Cancel(at(1)); return j.GiveUp(at(2), "x") }, ErrTerminal, Canceled},
		{"ErrWaiting", func(j *Job) error { j.WaitsFor = "uploads/x"; return j.Start("a", at(1), lease) }, ErrWaiting, Starting},
		{"ErrThirdCrash", func(j *Job) error {
			_ = j.Start("a", at(0), lease)
			_ = j.Start("b", at(40), lease)
			_ = j.Start("c", at(80), lease)
			return j.Start("d", at(120), lease)
		}, ErrTerminal, Failed},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := sampleJob()
			if err := tt.do(&j); !errors.Is(err, tt.err) {
				t.Errorf("got error %v, want %v", err, tt.err)
			}
			if j.Status != tt.want {
				t.Errorf("got %s, want %s", j.Status, tt.want)
			}
			if j.Status.Terminal() != !j.CompletedAt.IsZero() || j.Status.Terminal() && j.Lease != nil {
				t.Errorf("a terminal job has a time and no lease: %+v", j)
			}
			if (j.Status == Failed) != (j.Error != "") {
				t.Errorf("error %q in state %s", j.Error, j.Status)
			}
		})
	}
}

// TestBreaksAreCrashes holds that a job under which devices fail comes again at once, and is given up.
func TestBreaksAreCrashes(t *testing.T) {
	j := sampleJob()
	for i := range MaxCrashes {
		if err := errors.Join(j.Start("a", noon.Time, time.Hour), j.Break("a", noon.Time)); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		if last := i == MaxCrashes-1; (j.Status == Failed) != last || !last && (j.Lease != nil || !j.QueuedAt.IsZero()) {
			t.Errorf("round %d: %s, lease %v, queued %v", i, j.Status, j.Lease, j.QueuedAt)
		}
	}
	j = sampleJob()
	if err := j.Start("a", noon.Time, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := j.Break("b", noon.Time); !errors.Is(err, ErrLeaseLost) {
		t.Errorf("a break by another: %v", err)
	}
}

// TestForsake holds that a dead runner's job is free at once, with a crash more, and nobody else's is.
func TestForsake(t *testing.T) {
	for name, tt := range map[string]struct {
		holder, runner string
		err            error
	}{
		"Dead":         {"r.1", "r", nil},
		"AnotherOne":   {"s.1", "r", ErrLeaseLost},
		"LongerName":   {"rr.1", "r", ErrLeaseLost},
		"HasNoName":    {"r", "r", ErrLeaseLost},
		"WithoutAName": {".1", "", ErrLeaseLost},
	} {
		t.Run(name, func(t *testing.T) {
			j := sampleJob()
			if err := j.Start(tt.holder, noon.Time, time.Hour); err != nil {
				t.Fatal(err)
			}
			if err := j.Forsake(tt.runner, noon.Time); !errors.Is(err, tt.err) {
				t.Errorf("got %v, want %v", err, tt.err)
			}
			if free := tt.err == nil; (j.Lease == nil) != free || (j.Crashes == 1) != free || j.Status != Processing {
				t.Errorf("got lease %v, %d crashes, %s", j.Lease, j.Crashes, j.Status)
			}
		})
	}
	j := sampleJob()
	if err := j.Forsake("r", noon.Time); !errors.Is(err, ErrLeaseLost) || j.Crashes != 0 {
		t.Errorf("not begun: %v, %d crashes", err, j.Crashes)
	}
	for range MaxCrashes {
		if err := errors.Join(j.Start("r.1", noon.Time, time.Hour), j.Forsake("r", noon.Time)); err != nil {
			t.Fatal(err)
		}
	}
	if j.Status != Failed || j.Forsake("r", noon.Time) != ErrTerminal {
		t.Errorf("after %d crashes it is %s", j.Crashes, j.Status)
	}
}

// TestHandBacksAreNoCrashes holds that only deaths count towards giving up.
func TestHandBacksAreNoCrashes(t *testing.T) {
	j := sampleJob()
	for i := range 10 {
		if err := errors.Join(j.Start("a", noon.Time, time.Second), j.HandBack("a")); err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
	}
	if j.Crashes != 0 || j.HandBacks != 10 || j.Status != Processing {
		t.Errorf("got %d crashes, %d hand-backs, %s", j.Crashes, j.HandBacks, j.Status)
	}
}

func TestFailReason(t *testing.T) {
	j := sampleJob()
	if err := j.GiveUp(noon.Time, strings.Repeat("ä", 3000)+"\xff"); err != nil {
		t.Fatal(err)
	}
	if len(j.Error) > 2000 || strings.ContainsRune(j.Error, '\uFFFD') {
		t.Errorf("%d bytes, cut within a character: %q", len(j.Error), j.Error[len(j.Error)-4:])
	}
	k := sampleJob()
	if err := k.GiveUp(noon.Time, ""); err != nil || k.Error == "" {
		t.Errorf("a failed job without a reason: %q, %v", k.Error, err)
	}
}

func TestConceptName(t *testing.T) {
	for in, want := range map[string]string{
		"bob-ross.zip": "bob-ross", "Bob Ross | 50% #1 é画.zip": "BobRoss501", "ALLCAPS.ZIP": "ALLCAPS", "no-extension": "no-extension",
		".zip": "", "": "", "a.zip.zip": "azip", "名前.zip": "", strings.Repeat("x", 200) + ".zip": strings.Repeat("x", 100),
	} {
		if got := ConceptName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestUploadKeys(t *testing.T) {
	token, name, ok := ParseUploadKey(UploadKey("tok", "a b.zip"))
	if !ok || token != "tok" || name != "a b.zip" {
		t.Errorf("got %q %q %v", token, name, ok)
	}
	for _, bad := range []string{"", "uploads/", "uploads/a", "uploads/a/", "uploads//b", "uploads/a/b/c", "outputs/a/b"} {
		if _, _, ok := ParseUploadKey(bad); ok {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestSortableID(t *testing.T) {
	last := ""
	for i := range 1000 {
		id := NewSortableID(noon.Add(time.Duration(i) * time.Microsecond))
		if id <= last || len(id) != 26 || !ValidID(id) {
			t.Fatalf("%q after %q", id, last)
		}
		last = id
	}
}
