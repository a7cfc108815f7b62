package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"text/tabwriter"
	"time"
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
	// How and where it was measured.
	Command string `json:"command"`
	Machine string `json:"machine"`
}

// faster is a row of times, of which less is better.
func faster(name, peer string, ours, theirs []float64) row {
	a, b := median(ours), median(theirs)
	return row{Name: name, Ours: a, Peer: b, Unit: "s", Ratio: b / a, With: peer}
}

// settle is how long a side is left to come to rest before the other runs: threads of OpenBLAS and OpenMP go on looking for work
// for up to 100 ms after the last and would take the cores from who comes next.
const settle = 300 * time.Millisecond

// alternate lets both sides run in turns, each telling the seconds of its run.
func alternate(runs int, ours, theirs func() (float64, error)) (mine, its []float64, err error) {
	for range runs {
		for _, side := range []struct {
			run   func() (float64, error)
			times *[]float64
		}{{ours, &mine}, {theirs, &its}} {
			time.Sleep(settle)
			seconds, err := side.run()
			if err != nil {
				return nil, nil, err
			}
			*side.times = append(*side.times, seconds)
		}
	}
	return mine, its, nil
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

func writeJSON(path string, rows []row) error {
	b, err := json.MarshalIndent(rows, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(b, '\n'), 0o644)
}
