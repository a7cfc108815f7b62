// Command coefficients prints the polynomial coefficients of package kernel's
// exp, erf, log, sin and cos: minimax fits by the Remez exchange
// algorithm, solved in 200-bit arithmetic and rounded to float32 one after the
// other, lowest order first, so that each rounding is mended by the next.
package main

import (
	"fmt"
	"math"
	"math/big"
)

// fit approximates f on [lo,hi] by Σ c[i]·x^(pow[i]) with the error weighted
// by w.
type fit struct {
	name   string
	f, w   func(x float64) float64
	lo, hi float64
	pow    []int
}

func main() {
	one := func(float64) float64 { return 1 }
	even := func(n int) []int { // 0, 2, 4, … n terms
		p := make([]int, n)
		for i := range p {
			p[i] = 2 * i
		}
		return p
	}
	fits := []fit{
		{"exp: exp(r) = 1 + r + r²·q(r), error relative", expTail,
			func(x float64) float64 { return x * x * math.Exp(-x) }, -0.3475, 0.3475, []int{0, 1, 2, 3, 4}},
		{"erf below 0.8125: erf(x) = x + x·q(x²), error relative", func(x float64) float64 { return erfOver(x) - 1 },
			func(x float64) float64 { return 1 / erfOver(x) }, 0, 0.815, even(6)},
		// 1 − erf is GELU's factor below zero, so its own digits count as well, down to where GELU is nothing to Adam's ε.
		{"erf above: erf(x) = 1 − exp(q(x)), error absolute, that of 1 − erf below 2^-20", func(x float64) float64 { return math.Log(math.Erfc(x)) },
			func(x float64) float64 { return math.Max(0.03, math.Erfc(x)/math.Erfc(0.81)) }, 0.81, 5, []int{0, 1, 2, 3, 4, 5, 6, 7, 8}},
		{"log: log((1+s)/(1−s)) = 2s + s³·q(s²), error relative", logTail,
			func(x float64) float64 { return x * x / 2 }, 0, 0.172, even(4)},
		{"sin(π/2·x) = x·q(x²), |x| ≤ 1/2", func(x float64) float64 { return sinOver(x) }, one, 0, 0.5, even(4)},
		{"cos(π/2·x) = 1 + x²·q(x²), |x| ≤ 1/2", cosTail, func(x float64) float64 { return x * x }, 0, 0.5, even(4)},
	}
	for _, f := range fits {
		fmt.Println(f.name)
		c, err := f.solve()
		for _, v := range c {
			fmt.Printf("\t%.9g\n", v)
		}
		fmt.Printf("\tlargest error 2^%.1f\n", math.Log2(err))
	}
}

// The functions below are free of cancellation near 0, by series.

func series(x float64, term func(i int) float64) float64 {
	var s float64
	for i := 40; i >= 0; i-- {
		s = s*x + term(i)
	}
	return s
}

func factorial(n int) float64 { return math.Gamma(float64(n + 1)) }

func alternate(i int) float64 { return float64(1 - 2*(i&1)) }

func expTail(x float64) float64 {
	return series(x, func(i int) float64 { return 1 / factorial(i+2) })
}

func erfOver(x float64) float64 {
	return 2 / math.SqrtPi * series(x*x, func(i int) float64 {
		return alternate(i) / (factorial(i) * float64(2*i+1))
	})
}

func logTail(x float64) float64 {
	return 2 * series(x*x, func(i int) float64 { return 1 / float64(2*i+3) })
}

func sinOver(x float64) float64 {
	const h = math.Pi / 2
	return h * series(x*x*h*h, func(i int) float64 { return alternate(i) / factorial(2*i+1) })
}

func cosTail(x float64) float64 {
	const h = math.Pi / 2
	return -h * h * series(x*x*h*h, func(i int) float64 { return alternate(i) / factorial(2*i+2) })
}

// solve fits, rounds the lowest coefficient to float32, fits the rest again.
func (f fit) solve() (c []float32, worst float64) {
	rest := f
	for len(rest.pow) > 0 {
		x, _ := rest.remez()
		v := float32(x[0])
		c = append(c, v)
		p, prev := rest.pow[0], rest.f
		rest.f = func(x float64) float64 { return prev(x) - float64(v)*math.Pow(x, float64(p)) }
		rest.pow = rest.pow[1:]
	}
	for i := range 10001 {
		x := f.lo + (f.hi-f.lo)*float64(i)/10000
		worst = math.Max(worst, math.Abs(f.w(x)*rest.f(x)))
	}
	return c, worst
}

func (f fit) remez() ([]float64, float64) {
	n := len(f.pow)
	points := make([]float64, n+1)
	for i := range points {
		points[i] = (f.lo+f.hi)/2 - (f.hi-f.lo)/2*math.Cos(math.Pi*(float64(i)+0.5)/float64(n+1))
	}
	var c []float64
	for range 30 {
		c = f.level(points)
		points = f.extrema(c, n+1)
	}
	return c[:n], math.Abs(c[n])
}

// level solves w(x)·(f(x) − Σ c·x^p) = ±e at the points.
func (f fit) level(points []float64) []float64 {
	n := len(points)
	m := make([][]*big.Float, n)
	num := func(v float64) *big.Float { return new(big.Float).SetPrec(200).SetFloat64(v) }
	for i, x := range points {
		for _, p := range f.pow {
			m[i] = append(m[i], num(math.Pow(x, float64(p))))
		}
		m[i] = append(m[i], num(alternate(i)/math.Max(f.w(x), 1e-30)), num(f.f(x)))
	}
	for i := range n {
		best := i
		for r := i; r < n; r++ {
			if new(big.Float).Abs(m[r][i]).Cmp(new(big.Float).Abs(m[best][i])) > 0 {
				best = r
			}
		}
		m[i], m[best] = m[best], m[i]
		for r := range n {
			if r == i {
				continue
			}
			q := new(big.Float).Quo(m[r][i], m[i][i])
			for j := i; j <= n; j++ {
				m[r][j].Sub(m[r][j], new(big.Float).Mul(q, m[i][j]))
			}
		}
	}
	c := make([]float64, n)
	for i := range c {
		c[i], _ = new(big.Float).Quo(m[i][n], m[i][i]).Float64()
	}
	return c
}

// extrema picks n points of alternating error: the largest of each run of one
// sign, dropping the smaller end while there are too many.
func (f fit) extrema(c []float64, n int) []float64 {
	type peak struct{ x, e float64 }
	var peaks []peak
	const grid = 8000
	for i := range grid + 1 {
		x := (f.lo+f.hi)/2 - (f.hi-f.lo)/2*math.Cos(math.Pi*float64(i)/grid)
		e := f.f(x)
		for j, p := range f.pow {
			e -= c[j] * math.Pow(x, float64(p))
		}
		e *= f.w(x)
		last := len(peaks) - 1
		switch {
		case last < 0 || (e > 0) != (peaks[last].e > 0):
			peaks = append(peaks, peak{x, e})
		case math.Abs(e) > math.Abs(peaks[last].e):
			peaks[last] = peak{x, e}
		}
	}
	for len(peaks) > n {
		if math.Abs(peaks[0].e) < math.Abs(peaks[len(peaks)-1].e) {
			peaks = peaks[1:]
		} else {
			peaks = peaks[:len(peaks)-1]
		}
	}
	out := make([]float64, 0, n)
	for _, p := range peaks {
		out = append(out, p.x)
	}
	for len(out) < n { // too few: keep the system square
		out = append(out, f.lo+(f.hi-f.lo)*float64(len(out))/float64(n)*1.0001)
	}
	return out
}
