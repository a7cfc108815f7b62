package base

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/lowrank/lowrank/gpurunner/safetensors"
	"github.com/lowrank/lowrank/gpurunner/tokenizer"
)

// Prefixes of the parts in a checkpoint of CompVis/stable-diffusion.
const (
	unetPrefix = "model.diffusion_model."
	vaePrefix  = "first_stage_model."
	textPrefix = "cond_stage_model.transformer."
)

// single is one file in the layout of CompVis/stable-diffusion, Stable Diffusion 1.x. Tokenizer and configurations
// are not in it: they are derived from the names and shapes of its tensors, or come from a folder of configurations.
type single struct {
	path    string
	configs *folder           // nil: derived
	derived map[string][]byte // by path, as in a folder
	names   map[string]map[string]string
	vocab   int
}

var _ store = (*single)(nil)

// openSingle opens a single file; configs, or else the card's, is a folder that has the configurations.
func openSingle(name, path string, configs fs.FS) (*Base, error) {
	cardPath := strings.TrimSuffix(path, filepath.Ext(path)) + ".json"
	text, err := os.ReadFile(cardPath)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("base model %s: %w", name, err)
	}
	var said struct {
		Prediction string `json:"prediction_type"`
		Configs    string `json:"configs"`
	}
	if text != nil {
		if err := json.Unmarshal(text, &said); err != nil {
			return nil, fmt.Errorf("%s: %w", cardPath, err)
		}
	}
	s := &single{path: path}
	switch {
	case configs != nil:
		s.configs = &folder{name: "the folder of configurations", fsys: configs}
	case said.Configs != "":
		dir := filepath.Join(filepath.Dir(path), filepath.FromSlash(said.Configs))
		s.configs = &folder{name: dir, fsys: os.DirFS(dir)}
	}
	if err := s.read(said.Prediction); err != nil {
		return nil, err
	}
	return newBase(name, s, text, cardPath)
}

// read looks at the tensors' names and shapes, and derives the mapping and the configurations.
func (s *single) read(prediction string) error {
	f, err := safetensors.Open(s.path)
	if err != nil {
		return err
	}
	defer f.Close() // opened again, and kept, when weights are asked for
	c := checkpoint{f}
	if err := c.recognise(); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	u, err := c.unet()
	if err != nil {
		return fmt.Errorf("%s: unet: %w", s.path, err)
	}
	v, err := c.vae()
	if err != nil {
		return fmt.Errorf("%s: vae: %w", s.path, err)
	}
	t, err := c.text()
	if err != nil {
		return fmt.Errorf("%s: text encoder: %w", s.path, err)
	}
	s.names = map[string]map[string]string{"unet": u.names, "vae": v.names, "text_encoder": t.names}
	s.vocab, _ = t.config["vocab_size"].(int)
	if s.configs != nil {
		return nil
	}
	if !usual(u.config, v.config, t.config) {
		return fmt.Errorf("%s: its layers are not of Stable Diffusion 1.x's sizes, so the number of heads and groups cannot be told from it: "+
			`put its diffusers folder of configurations beside it and name it in %s.json, as {"configs": "folder"}`,
			s.path, nameOf(s.path))
	}
	if prediction == "" {
		prediction = "epsilon"
	}
	s.derived = map[string][]byte{
		"unet/config.json": u.json(), "vae/config.json": v.json(), "text_encoder/config.json": t.json(),
		schedulerConfig: derived{config: map[string]any{
			"_class_name": "PNDMScheduler", "num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012,
			"beta_schedule": "scaled_linear", "prediction_type": prediction, "steps_offset": 1,
			"set_alpha_to_one": false, "skip_prk_steps": true,
		}}.json(),
	}
	return nil
}

// derived is what was found out about a part: the diffusers names of its tensors by their stored names, and its
// configuration.
type derived struct {
	names  map[string]string
	config map[string]any
}

func (d derived) json() []byte {
	b, err := json.Marshal(d.config)
	if err != nil {
		panic("base: a configuration that is no JSON: " + err.Error()) // it holds numbers, texts and lists only
	}
	return b
}

func (s *single) config(path string) ([]byte, error) {
	if s.configs != nil {
		return s.configs.config(path)
	}
	text, ok := s.derived[path]
	if !ok {
		return nil, fmt.Errorf("%s: a single file has no %s: %w", s.path, path, fs.ErrNotExist)
	}
	return text, nil
}

func (s *single) has(part string) bool {
	switch part {
	case "unet", "vae", "text_encoder", "tokenizer", "scheduler":
		return true
	}
	return false
}

func (s *single) tokenizer(part string) (*tokenizer.Tokenizer, error) {
	switch clip := tokenizer.CLIP(); {
	case part != "tokenizer":
		return nil, fmt.Errorf("%s: a single file has no %s: %w", s.path, part, fs.ErrNotExist)
	case s.configs != nil && s.configs.has(part):
		return s.configs.tokenizer(part)
	case clip.Len() != s.vocab:
		return nil, fmt.Errorf("%s: the text encoder has %d tokens, CLIP's vocabulary %d: the folder of configurations needs a tokenizer", s.path, s.vocab, clip.Len())
	default:
		return clip, nil
	}
}

func (s *single) weightFiles(part string) ([]string, error) {
	if s.names[part] == nil {
		return nil, fmt.Errorf("%s: a single file has no %s: %w", s.path, part, fs.ErrNotExist)
	}
	return []string{filepath.Base(s.path)}, nil
}

// open opens the one file. A part's Weights have a mapping each; the pages behind them are the same.
func (s *single) open(string) (*safetensors.File, error) { return safetensors.Open(s.path) }

func (s *single) file(string) (fs.File, error) { return os.Open(s.path) }

func (s *single) rename(part string) rename {
	names := s.names[part]
	return func(t safetensors.Tensor) (safetensors.Tensor, error) {
		to := names[t.Name]
		if to == "" {
			return t.Renamed(""), nil
		}
		t = t.Renamed(to)
		if part == "vae" {
			return renameVAE(t)
		}
		return t, nil
	}
}

// usual reports whether the parts have the sizes that all of Stable Diffusion 1.x has: those go with 8 heads and 32
// groups in the UNet, 32 groups in the autoencoder, 12 heads in the text encoder, which no tensor tells.
func usual(unet, vae, text map[string]any) bool {
	channels := func(c map[string]any) string { return fmt.Sprint(c["block_out_channels"]) }
	return channels(unet) == "[320 640 1280 1280]" && channels(vae) == "[128 256 512 512]" && text["hidden_size"] == 768
}
