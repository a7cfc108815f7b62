package lora

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/torchfile"
)

// openTorch reads what torch.save wrote as if it were a safetensors file with
// the same keys: the layouts of the time before safetensors differ in nothing
// else. There are four: a list of factors (cloneofsimo/lora until January 2023),
// a dictionary of tensors (diffusers' pytorch_lora_weights.bin and
// learned_embeds.bin, kohya's .pt, cloneofsimo/lora's .ti.pt), AUTOMATIC1111's
// embedding, and these under "state_dict".
func openTorch(path string) (*safetensors.File, error) {
	t := torchTensors{meta: map[string]string{}}
	if err := t.add(path); err != nil {
		return nil, err
	}
	// cloneofsimo/lora wrote x.pt, x.text_encoder.pt and x.ti.pt.
	if stem, ok := strings.CutSuffix(path, ".pt"); ok && t.numbered && filepath.Ext(stem) == "" {
		for _, beside := range []string{stem + ".text_encoder.pt", stem + ".ti.pt"} {
			if _, err := os.Stat(beside); err != nil {
				continue
			}
			if err := t.add(beside); err != nil {
				return nil, err
			}
		}
	}
	var out bytes.Buffer
	if err := safetensors.Write(&out, t.entries, t.meta); err != nil {
		return nil, &FileError{File: path, Reason: err.Error()}
	}
	return safetensors.OpenBytes(path, out.Bytes())
}

type torchTensors struct {
	entries  []safetensors.Entry
	meta     map[string]string
	numbered bool // a list
}

func (t *torchTensors) add(path string) error {
	v, err := torchfile.Open(path)
	if err != nil {
		return &FileError{File: path, Reason: err.Error()}
	}
	before := len(t.entries)
	t.sort(path, v)
	if len(t.entries) == before {
		return &FileError{File: path, Reason: "holds neither adapters nor embeddings in a layout that is known"}
	}
	return nil
}

func (t *torchTensors) sort(path string, v any) {
	switch v := v.(type) {
	case *torchfile.Tensor:
		t.tensor("emb_params", v)
	case *torchfile.List:
		part := UNet
		if strings.Contains(filepath.Base(path), ".text_encoder.") {
			part = TextEncoder
		}
		for i, item := range v.Items {
			if x, ok := item.(*torchfile.Tensor); ok {
				t.numbered = true
				t.tensor(fmt.Sprintf("%s:%d:%s", part, i/2, []role{up, down}[i%2]), x)
			}
		}
	case *torchfile.Dict:
		t.dict(path, v)
	}
}

func (t *torchTensors) dict(path string, d *torchfile.Dict) {
	if inner, ok := d.Get("state_dict"); ok {
		t.sort(path, inner)
		return
	}
	if vectors, ok := d.Get("string_to_param"); ok {
		if o, ok := vectors.(*torchfile.Object); ok { // a ParameterDict
			if state, ok := o.State.(*torchfile.Dict); ok {
				vectors, _ = state.Get("_parameters")
			}
		}
		if list, ok := vectors.(*torchfile.Dict); ok {
			for i, k := range list.Keys {
				if x, ok := list.Values[i].(*torchfile.Tensor); ok {
					t.tensor(fmt.Sprintf("string_to_param.%v", k), x)
				}
			}
		}
		return
	}
	for i, k := range d.Keys {
		key, ok1 := k.(string)
		x, ok2 := d.Values[i].(*torchfile.Tensor)
		if !ok1 || !ok2 {
			continue
		}
		if len(x.Shape) == 1 && !strings.Contains(key, ".") {
			t.meta[key] = embedFlag // a token and its vector
		}
		t.tensor(key, x)
	}
}

func (t *torchTensors) tensor(key string, x *torchfile.Tensor) {
	t.entries = append(t.entries, safetensors.Entry{Info: safetensors.Info{Name: key, DType: x.DType, Shape: x.Shape}, Data: x.Data})
}
