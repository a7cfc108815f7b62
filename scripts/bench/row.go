package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
)

// row is one measured figure. Ratio is how many times better ours is.
type row struct {
	Name  string  `json:"name"`
	Ours  float64 `json:"ours"`
	Peer  float64 `json:"peer"`
	Unit  string  `json:"unit"`
	Ratio float64 `json:"ratio"`
	// Share of the machine's peak multiply-add rate that ours reaches, 0
	// where it has no meaning.
	Share float64 `json:"share_of_peak,omitempty"`
	With  string  `json:"peer_name"`
}

// faster is a row of times, of which less is better.
func faster(name, peer string, ours, theirs []float64) row {
	a, b := median(ours), median(theirs)
	return row{Name: name, Ours: a, Peer: b, Unit: "s", Ratio: b / a, With: peer}
}

func median(x []float64) float64 {
	s := slices.Clone(x)
	slices.Sort(s)
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

func writeTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ours\tpeer\tunit\tratio\tof peak\t")
	for _, r := range rows {
		share := ""
		if r.Share > 0 {
			share = fmt.Sprintf("%.0f %%", 100*r.Share)
		}
		fmt.Fprintf(t, "%.4g\t%.4g\t%s\t%.2f\t%s\t  %s (%s)\n", r.Ours, r.Peer, r.Unit, r.Ratio, share, r.Name, r.With)
	}
	t.Flush()
}

// report is what a run of the bench leaves behind. docs/measured holds some.
type report struct {
	Command string  `json:"command"` // that makes it again
	Machine string  `json:"machine"`
	Peak    float64 `json:"peak_flops"` // multiply-add rate that was measured at its start, f32
	Threads int     `json:"threads"`
	Rows    []row   `json:"rows"`
}

func writeJSON(path string, r report) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
