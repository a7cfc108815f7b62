package train

import (
	"bytes"
	"image/png"
	"testing"
)

func TestCurve(t *testing.T) {
	c := Curve{
		{Phase: Inversion, Step: 0, Loss: 0.5, Rate: 1e-3},
		{Phase: Inversion, Step: 1, Loss: 0.25, Rate: 5e-4},
		{Phase: Tuning, Step: 0, Loss: 0.125, Rate: 1e-4, Validation: 0.2, Validated: true},
		{Phase: Tuning, Step: 1, Loss: 0.1, Rate: 1e-4, Validation: 0.1, Validated: true},
	}
	var csv bytes.Buffer
	if err := c.CSV(&csv); err != nil {
		t.Fatal(err)
	}
	want := "phase,step,loss,learning_rate,validation_loss\ninversion,1,0.5,0.001,\ninversion,2,0.25,0.0005,\ntuning,1,0.125,0.0001,0.2\ntuning,2,0.1,0.0001,0.1\n"
	if csv.String() != want {
		t.Errorf("got\n%swant\n%s", csv.String(), want)
	}
	for _, c := range []Curve{c, c[:1], nil} {
		var a, b bytes.Buffer
		if err := c.PNG(&a); err != nil {
			t.Fatal(err)
		}
		if err := c.PNG(&b); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Error("the same curve gives another picture")
		}
		if m, err := png.Decode(&a); err != nil || m.Bounds().Dx() < 300 {
			t.Errorf("no picture: %v", err)
		}
	}
	if back := curveOf(c.bytes()); len(back) != len(c) || back[2] != c[2] {
		t.Errorf("got %v back", back)
	}
}
