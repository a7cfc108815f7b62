package lora

import (
	"math"
	"slices"
	"strings"
)

// Format is a layout of adapter files.
type Format string

// The layouts that files are written in; Embedding is read only: textual
// inversion without adapters.
const (
	Cloneofsimo Format = "cloneofsimo"
	Diffusers   Format = "diffusers"
	Kohya       Format = "kohya"
	Embedding   Format = "embedding"
)

// Formats are the layouts that Write knows.
var Formats = []Format{Cloneofsimo, Diffusers, Kohya}

// Set is what one file holds, or one training made.
type Set struct {
	Name     string // the file's, for messages
	Base     *Base
	Adapters []Adapter // in the order of Base.Modules
	Tokens   []Token   // sorted by name
	Metadata map[string]string
	// Unused are the keys for which the base has no layer.
	Unused []string

	Format Format // that it was read from
	Era    string // of the format, in words
	DType  string // of the factors in the file: "F16"

	device *resident
}

// Adapter is the low-rank term of one layer: Scale·Up·Down is added to its
// weight.
type Adapter struct {
	Module *Module
	Rank   int
	Down   []float32 // [Rank,In], or [Rank,In,Kernel,Kernel] of a convolution
	Up     []float32 // [Out,Rank]
	Scale  float32   // from the file: alpha/rank or what its layout says instead
}

// Token is a word that was added to the vocabulary: rows of embeddings for each
// text encoder, as many for one as for the other.
type Token struct {
	Name string
	Rows [][][]float32 // [encoder][row][width]
}

// HasPart reports whether the set adapts a part.
func (s *Set) HasPart(p Part) bool {
	return slices.ContainsFunc(s.Adapters, func(a Adapter) bool { return a.Module.Part == p })
}

// Size is the memory that the set's factors take, in bytes: once here, and once
// more on the device while the set is loaded.
func (s *Set) Size() (bytes int64) {
	for i := range s.Adapters {
		bytes += 4 * int64(len(s.Adapters[i].Down)+len(s.Adapters[i].Up))
	}
	return bytes
}

// sort brings adapters and tokens to their canonical order.
func (s *Set) sort() {
	at := func(a Adapter) int { return s.Base.index[a.Module.String()] }
	slices.SortFunc(s.Adapters, func(a, b Adapter) int { return at(a) - at(b) })
	slices.SortFunc(s.Tokens, func(a, b Token) int { return strings.Compare(a.Name, b.Name) })
}

// Norm is the Frobenius norm of what the adapter adds to its weight, without
// making that matrix: |UD|² is the sum of the products of UᵀU and DDᵀ, element by
// element.
func (a *Adapter) Norm() float64 {
	r, k := a.Rank, a.Module.inputs()
	up := transpose(a.Up, a.Module.Out, r)
	dot := func(x, y []float32) (sum float64) {
		for n, v := range x {
			sum += float64(v) * float64(y[n])
		}
		return sum
	}
	var sum float64
	for i := range r {
		for j := range i + 1 {
			n := a.Module.Out
			term := dot(up[i*n:(i+1)*n], up[j*n:(j+1)*n]) * dot(a.Down[i*k:(i+1)*k], a.Down[j*k:(j+1)*k])
			if j < i {
				term *= 2
			}
			sum += term
		}
	}
	return math.Abs(float64(a.Scale)) * math.Sqrt(math.Max(sum, 0))
}

// Delta is what the adapter adds to its weight, Scale·Up·Down, in the weight's
// layout: [Out,In] or [Out,In,Kernel,Kernel]. Sums are taken in float64.
func (a *Adapter) Delta() []float32 {
	r, k := a.Rank, a.Module.inputs()
	delta := make([]float32, a.Module.Out*k)
	row := make([]float64, k)
	for n := range a.Module.Out {
		clear(row)
		for i := range r {
			u := float64(a.Up[n*r+i])
			for j, d := range a.Down[i*k : (i+1)*k] {
				row[j] += u * float64(d)
			}
		}
		for j, v := range row {
			delta[n*k+j] = float32(float64(a.Scale) * v)
		}
	}
	return delta
}
