package cpu

// multiplyParts is multiply for low-rank terms each of which may be one of some of
// the product's m rows: the chunk's rows are cut where terms begin and end. What is
// cut is what shows in the bits, the last chain, which terms join; the sums before
// it are made for all rows at once.
func (d *Device) multiplyParts(w *worker, g *grid, b *operand, pieces []piece, lows []low, m, j0, n int, scratch []float32) {
	if wholeRows(lows, m) {
		d.multiply(w, g, b, pieces, lows, j0, n, scratch)
		return
	}
	all := len(pieces)
	if !g.pairs { // of pairs, terms are chains of their own
		all = lastGroup(pieces)
	}
	first, last := pieces[:all], pieces[all:]
	if all > 0 {
		d.multiply(w, g, b, first, nil, j0, n, scratch)
	}
	part := *g
	part.add = part.add || all > 0
	for row, end := g.lowRow, g.lowRow+g.m; row < end; row += part.m {
		part.m = end - row
		w.lows = w.lows[:0]
		for i := range lows {
			l := &lows[i]
			switch {
			case row < l.from:
				part.m = min(part.m, l.from-row)
			case row < l.from+l.h.rows:
				part.m = min(part.m, l.from+l.h.rows-row)
				w.lows = append(w.lows, *l)
			}
		}
		if len(last) == 0 && len(w.lows) == 0 && part.add {
			continue
		}
		if g.a != nil {
			part.a = offset(g.a, (row-g.lowRow)*g.aRow)
		}
		part.c = offset(g.c, (row-g.lowRow)*g.cStride)
		part.lowRow = row
		d.multiply(w, &part, b, last, w.lows, j0, n, scratch)
	}
}

// wholeRows reports whether all terms are ones of all m rows.
func wholeRows(lows []low, m int) bool {
	for i := range lows {
		if lows[i].h.rows != m {
			return false
		}
	}
	return true
}

// lastGroup is where the last group of pieces begins.
func lastGroup(pieces []piece) int {
	i := max(len(pieces)-1, 0)
	for i > 0 && !pieces[i-1].last {
		i--
	}
	return i
}
