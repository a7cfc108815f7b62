package kernel

func addGeneric(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] + b[i]
	}
}

func mulGeneric(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] = a[i] * b[i]
	}
}

func mulAddGeneric(y, a, b []float32) {
	a, b = a[:len(y)], b[:len(y)]
	for i := range y {
		y[i] += float32(a[i] * b[i])
	}
}

func scaleGeneric(y []float32, c float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] = c * x[i]
	}
}

func axpyGeneric(y []float32, c float32, x []float32) {
	x = x[:len(y)]
	for i := range y {
		y[i] += float32(c * x[i])
	}
}

func combineGeneric(y []float32, terms []Term) {
	checkTerms(y, terms)
	for i := range y {
		s := terms[0].C * terms[0].X[i]
		for _, t := range terms[1:] {
			s += float32(t.C * t.X[i])
		}
		y[i] = s
	}
}

func checkTerms(y []float32, terms []Term) {
	if len(terms) < 1 || len(terms) > 5 {
		panic("kernel: Combine of other than one to five terms")
	}
	for _, t := range terms {
		_ = t.X[:len(y)]
	}
}
