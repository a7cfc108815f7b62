package lora

import (
	"fmt"
	"slices"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/safetensors/half"
)

// Merge gives the weights of a part of a base model with the mounts' adapters
// added: W + Σ scale·up·down, in float32, made when they are asked for. All
// other weights come through as they are. It is for export; to draw, Attach. A
// set of another base is a *MismatchError.
func Merge(weights nn.Source, p Part, mounts []Mount) (nn.Source, error) {
	m := &merged{weights: weights, terms: map[string][]mergeTerm{}}
	for _, mount := range mounts {
		for i := range mount.Set.Adapters {
			a := &mount.Set.Adapters[i]
			if a.Module.Part == p {
				if err := m.fits(mount.Set, a); err != nil {
					return nil, err
				}
				m.terms[a.Module.Path] = append(m.terms[a.Module.Path], mergeTerm{a, mount.scale(p)})
			}
		}
	}
	return m, nil
}

type merged struct {
	weights nn.Source
	terms   map[string][]mergeTerm // by path
}

type mergeTerm struct {
	adapter *Adapter
	scale   float32
}

func (m *merged) fits(s *Set, a *Adapter) error {
	w, ok := m.weights.Weight(a.Module.Path + ".weight")
	if !ok {
		return &MismatchError{File: s.Name, Reason: fmt.Sprintf("the base model has no %s", a.Module)}
	}
	want, got := a.Module.weightShape(), w.Shape
	if len(got) == 4 && a.Module.Kernel <= 1 && got[2] == 1 && got[3] == 1 {
		got = got[:2]
	}
	if !slices.Equal(got, want) {
		return &MismatchError{File: s.Name, Reason: fmt.Sprintf("its adapter of %s is for %v, the base model's weight is %v", a.Module, want, w.Shape)}
	}
	return nil
}

// Weight implements nn.Source.
func (m *merged) Weight(name string) (device.HostWeight, bool) {
	w, ok := m.weights.Weight(name)
	path, isWeight := strings.CutSuffix(name, ".weight")
	terms := m.terms[path]
	if !ok || !isWeight || len(terms) == 0 {
		return w, ok
	}
	values := nn.Float32(w)
	for _, t := range terms {
		for i, d := range t.adapter.Delta() {
			values[i] += t.scale * d
		}
	}
	return device.HostWeight{Type: device.F32, Shape: slices.Clone(w.Shape), Data: half.AppendF32(nil, values)}, true
}
