package clip

import (
	"fmt"
	"math"

	"github.com/lowrank/lowrank/gpurunner/autodiff"
	"github.com/lowrank/lowrank/gpurunner/device"
	"github.com/lowrank/lowrank/gpurunner/nn"
	"github.com/lowrank/lowrank/gpurunner/tensor"
)

// The tables, by their names.
const (
	tokenTable    = "text_model.embeddings.token_embedding.weight"
	positionTable = "text_model.embeddings.position_embedding.weight"
)

// Encoder is a text encoder on a device.
type Encoder struct {
	Config Config
	Layers []*Layer

	tokens, positions device.HostWeight // [V,C] and [P,C], in their file
	final             *nn.LayerNorm
	projection        *nn.Linear // nil where the model has none
}

// Layer is one block of the transformer.
type Layer struct {
	Norm1, Norm2 *nn.LayerNorm
	Q, K, V, Out *nn.Linear
	FC1, FC2     *nn.Linear

	path  string
	heads int
	act   device.Activation
}

// Load makes the encoder that c describes; errors are the loader's. l is at
// the root of the text encoder's names, as transformers 4 writes them
// ("text_model.encoder…").
func Load(l *nn.Loader, c Config) *Encoder {
	act, err := c.activation()
	if err != nil {
		l.Fail(err)
	}
	m := l.In("text_model")
	e := &Encoder{
		Config:    c,
		tokens:    l.Host(tokenTable, c.VocabSize, c.HiddenSize),
		positions: l.Host(positionTable, c.Positions, c.HiddenSize),
		final:     m.LayerNorm("final_layer_norm", c.HiddenSize, c.LayerNormEps),
	}
	for i := range c.Layers {
		s := m.In("encoder.layers.%d", i)
		e.Layers = append(e.Layers, &Layer{
			Norm1: s.LayerNorm("layer_norm1", c.HiddenSize, c.LayerNormEps),
			Norm2: s.LayerNorm("layer_norm2", c.HiddenSize, c.LayerNormEps),
			Q:     s.Linear("self_attn.q_proj", c.HiddenSize, c.HiddenSize, true),
			K:     s.Linear("self_attn.k_proj", c.HiddenSize, c.HiddenSize, true),
			V:     s.Linear("self_attn.v_proj", c.HiddenSize, c.HiddenSize, true),
			Out:   s.Linear("self_attn.out_proj", c.HiddenSize, c.HiddenSize, true),
			FC1:   s.Linear("mlp.fc1", c.HiddenSize, c.IntermediateSize, true),
			FC2:   s.Linear("mlp.fc2", c.IntermediateSize, c.HiddenSize, true),
			path:  s.Path(""), heads: c.Heads, act: act,
		})
	}
	if c.projects() {
		e.projection = l.Linear("text_projection", c.HiddenSize, c.ProjectionDim, false)
	}
	return e
}

// Embedding returns the vocabulary's row of a token, [C].
func (e *Encoder) Embedding(id int) ([]float32, error) {
	if id < 0 || id >= e.Config.VocabSize {
		return nil, fmt.Errorf("token id %d is outside of the vocabulary of %d", id, e.Config.VocabSize)
	}
	return nn.Row(e.tokens, id), nil
}

// Prompts are tokenised prompts, [B][T], T at most Config.Positions.
type Prompts [][]int32

// Placeholders are the rows of added tokens: id VocabSize+i is row i.
type Placeholders struct {
	Table *autodiff.Value // [E,C]
	// Seen, if not nil, is shown the gradient of the embedded prompts
	// [B,T,C] in backward.
	Seen func(dy *tensor.Tensor)
}

// Output is what an encoder gives; its values are the caller's.
type Output struct {
	Hidden *autodiff.Value // [B,T,C]
	Pooled *autodiff.Value // [B,C], projected where the model does; nil unless asked for
}

// Release gives up both values.
func (o Output) Release() { o.Hidden.Release(); o.Pooled.Release() }

// Want says which of its states an encoder gives.
type Want struct {
	// Skip is the number of last layers to leave out. With 0 the hidden
	// state is the last one after the final norm; otherwise the final norm
	// is left out too, as SDXL has it with 1.
	Skip   int
	Pooled bool
}

// Encode runs the encoder. extra may be nil. It fails for ids that are neither
// in the vocabulary nor among the placeholders, and prompts of unequal or
// excessive length.
func (e *Encoder) Encode(p *autodiff.Pass, prompts Prompts, extra *Placeholders, want Want) (Output, error) {
	x, err := e.embed(p, prompts, extra)
	if err != nil {
		return Output{}, err
	}
	n := len(e.Layers)
	nn.Observe(p, "hidden_states.0", x)
	var out Output
	for i, layer := range e.Layers {
		if want.Skip > 0 && i == n-want.Skip {
			out.Hidden = x.Retain()
			if !want.Pooled {
				break
			}
		}
		y := p.Checkpoint(func(p *autodiff.Pass, in []*autodiff.Value) *autodiff.Value {
			return layer.Forward(p, in[0])
		}, x)
		x.Release()
		x = y
		if p.Tap != nil {
			nn.Observe(p, fmt.Sprintf("hidden_states.%d", i+1), x)
		}
	}
	if want.Skip > 0 && !want.Pooled {
		x.Release()
		return out, nil
	}
	last := e.final.Forward(p, x)
	x.Release()
	if want.Pooled {
		out.Pooled = e.pool(p, last, prompts)
	}
	if out.Hidden == nil {
		return Output{Hidden: last, Pooled: out.Pooled}, nil
	}
	last.Release()
	return out, nil
}

// embed looks the prompts up on the host and adds the positions.
func (e *Encoder) embed(p *autodiff.Pass, prompts Prompts, extra *Placeholders) (*autodiff.Value, error) {
	c := e.Config.HiddenSize
	if len(prompts) == 0 || len(prompts[0]) == 0 || len(prompts[0]) > e.Config.Positions {
		return nil, fmt.Errorf("prompts must have 1 to %d tokens", e.Config.Positions)
	}
	t := len(prompts[0])
	added := 0
	var table *autodiff.Value
	var seen func(*tensor.Tensor)
	if extra != nil {
		table, seen = extra.Table, extra.Seen
		added = table.T.Dim(0)
	}
	rows := make([]float32, len(prompts)*t*c)
	var at autodiff.Placement
	for b, ids := range prompts {
		if len(ids) != t {
			return nil, fmt.Errorf("prompts of %d and %d tokens in one batch", t, len(ids))
		}
		for i, id := range ids {
			row := rows[(b*t+i)*c:][:c]
			copy(row, nn.Row(e.positions, i))
			if !finite(row) {
				return nil, fmt.Errorf("weight %q is not finite (row %d)", positionTable, i)
			}
			switch id := int(id); {
			case id >= 0 && id < e.Config.VocabSize:
				token := nn.Row(e.tokens, id)
				if !finite(token) {
					return nil, fmt.Errorf("weight %q is not finite (row %d)", tokenTable, id)
				}
				for j, v := range token {
					row[j] += v
				}
			case id >= e.Config.VocabSize && id < e.Config.VocabSize+added:
				at.Positions = append(at.Positions, int32(b*t+i))
				at.Rows = append(at.Rows, int32(id-e.Config.VocabSize))
			default:
				return nil, fmt.Errorf("token id %d is outside of the vocabulary of %d and %d placeholders", id, e.Config.VocabSize, added)
			}
		}
	}
	base := p.Pool.FromFloat32(rows, len(prompts), t, c)
	defer base.Release()
	return p.PlaceRows(base, table, at, seen), nil
}

// finite reports whether all of a table's row are numbers: tables stay in
// their file, so loading has not looked at them.
func finite(row []float32) bool {
	for _, v := range row {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// pool picks each prompt's state at its end token: the highest id where the
// configuration has the old end token id 2, else the first end token.
func (e *Encoder) pool(p *autodiff.Pass, last *autodiff.Value, prompts Prompts) *autodiff.Value {
	t := len(prompts[0])
	ids := make([]int32, len(prompts))
	for b, prompt := range prompts {
		at := 0
		for i, id := range prompt {
			if e.Config.EOS == 2 {
				if id > prompt[at] {
					at = i
				}
			} else if int(id) == e.Config.EOS {
				at = i
				break
			}
		}
		ids[b] = int32(b*t + at)
	}
	pick := p.Pool.FromInt32(ids, len(prompts))
	defer pick.Release()
	flat := p.Reshape(last, len(prompts)*t, e.Config.HiddenSize)
	defer flat.Release()
	pooled := p.Gather(flat, pick)
	if e.projection == nil {
		return pooled
	}
	defer pooled.Release()
	return e.projection.Forward(p, pooled)
}

// Forward maps x [B,T,C] to the same shape.
func (l *Layer) Forward(p *autodiff.Pass, x *autodiff.Value) *autodiff.Value {
	h := l.Norm1.Forward(p, x)
	q, k, v := l.Q.Forward(p, h), l.K.Forward(p, h), l.V.Forward(p, h)
	h.Release()
	scale := float32(1 / math.Sqrt(float64(x.T.Dim(2)/l.heads)))
	o := p.Attention(q, k, v, l.heads, scale, true)
	q.Release()
	k.Release()
	v.Release()
	x1 := l.Out.ForwardAdd(p, o, x, l.path+".self_attn")
	o.Release()
	defer x1.Release()

	h = l.Norm2.Forward(p, x1)
	f := l.FC1.Forward(p, h)
	h.Release()
	a := p.Activate(l.act, f)
	f.Release()
	defer a.Release()
	return l.FC2.ForwardAdd(p, a, x1, l.path+".mlp")
}
