package lora

import "strconv"

// nearness tells bases apart for a file that fits none of them, by names and
// shapes alone: a point for each key whose place the base has, and one more where
// the sides that the place gives are the tensor's.
func (s *source) nearness(b *Base) int {
	n := 0
	numbers := map[Part]map[int][]string{}
	for _, key := range s.keys {
		if _, encoder, ok := s.wordOf(key, len(s.keys)); ok {
			if encoder < len(b.Widths) {
				n++
				if _, ok := rows(s.shape(key), b.Widths[encoder]); ok {
					n++
				}
			}
			continue
		}
		if m := numberedKey.FindStringSubmatch(key); m != nil {
			i, _ := strconv.Atoi(m[2]) // six digits at most
			if numbers[Part(m[1])] == nil {
				numbers[Part(m[1])] = map[int][]string{}
			}
			numbers[Part(m[1])][i] = append(numbers[Part(m[1])][i], key)
			continue
		}
		name, r, ok := split(key)
		if !ok {
			continue
		}
		if m, ok := b.resolve(name); ok {
			n++
			if m.sides(r, s.shape(key)) {
				n++
			}
		}
	}
	for part, keys := range numbers {
		best := 0
		for _, c := range b.numberings(part) {
			points := 0
			for i, m := range c.list {
				for _, key := range keys[i] {
					points++
					if m.sides(role(numberedKey.FindStringSubmatch(key)[3]), s.shape(key)) {
						points++
					}
				}
			}
			best = max(best, points)
		}
		n += best
	}
	return n
}

// sides reports whether a tensor's sides are those that m gives it in role r. The
// rank is the file's own; of LoKr's factors the layer gives no side.
func (m *Module) sides(r role, shape []int) bool {
	in, out := len(shape) > 1 && shape[1] == m.In, len(shape) > 1 && shape[0] == m.Out
	switch r {
	case down, "hada_w1_b", "hada_w2_b":
		return in
	case up, "hada_w1_a", "hada_w2_a":
		return out
	case "diff":
		return in && out
	}
	return false
}
