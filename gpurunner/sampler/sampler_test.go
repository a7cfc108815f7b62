package sampler

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/lowrank/lowrank/gpurunner/paritytest"
)

func TestMain(m *testing.M) { paritytest.Main(m) }

// execute runs a plan in float32, as a device would. model answers for a scaled sample; draws are the noises, in order.
// It returns X at the start and after every evaluation.
func execute(t *testing.T, p *Plan, x []float32, draws [][]float32, model func(x []float32, timestep float64) []float32) [][]float32 {
	t.Helper()
	regs := make([][]float32, int(firstHistory)+p.Histories)
	for i := range regs {
		regs[i] = make([]float32, len(x))
		for j := range regs[i] {
			regs[i][j] = float32(math.NaN()) // reading what was never written must show
		}
	}
	copy(regs[X], x)
	out := [][]float32{append([]float32(nil), x...)}
	input := make([]float32, len(x))
	for _, e := range p.Evals {
		for i, v := range regs[X] {
			input[i] = v * float32(e.InputScale)
		}
		copy(regs[M], model(input, e.Timestep))
		for range e.Draws {
			if len(draws) == 0 {
				t.Fatalf("draws more noise than the original")
			}
			copy(regs[N], draws[0])
			draws = draws[1:]
		}
		for _, u := range e.Updates {
			y := make([]float32, len(x))
			for _, term := range u.Terms {
				c := float32(term.Coef)
				for i, v := range regs[term.Reg] {
					y[i] += float32(c * v)
				}
			}
			copy(regs[u.Dst], y)
		}
		out = append(out, append([]float32(nil), regs[X]...))
	}
	if len(draws) > 0 {
		t.Errorf("the original drew %d noises more", len(draws))
	}
	return out
}

// fake is the network of the expected numbers.
func fake(x []float32, t float64) []float32 {
	c := float32(0.3 * math.Sin(t/100))
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = c * v
	}
	return y
}

func rows(x paritytest.Tensor) [][]float32 {
	n := x.Shape[0]
	size := x.Len() / n
	var out [][]float32
	for i := range n {
		out = append(out, x.F32[i*size:(i+1)*size])
	}
	return out
}

func flat(xs [][]float32) []float32 {
	var out []float32
	for _, x := range xs {
		out = append(out, x...)
	}
	return out
}

func TestSchedulers(t *testing.T) {
	paritytest.Each(t, "schedulers", func(t *testing.T, c *paritytest.Case) {
		switch c.Prefix {
		case "train":
			compareTraining(t, c)
			return
		case "alphas_cumprod":
			s, err := NewSchedule(StableDiffusion())
			if err != nil {
				t.Fatal(err)
			}
			c.Compare(t, "", s.AlphasCumprod)
			for i, want := range c.Tensor(t, "").F32 {
				// The original's torch multiplied in another order; its last bits differ.
				if c.Base == "current" && s.AlphasCumprod[i] != want {
					t.Fatalf("alphas_cumprod[%d]: got %v, want %v, to the bit", i, s.AlphasCumprod[i], want)
				}
			}
			return
		}
		kind, config := configOf(t, c)
		steps := int(c.Numbers(t, "n")[0])
		original := c.Base == "original"
		plan, err := New(kind, config, steps, Options{Original: original})
		if err != nil {
			t.Fatal(err)
		}
		c.CompareNumbers(t, plan.Timesteps, "timesteps")
		c.CompareNumbers(t, []float64{plan.InitSigma}, "init_noise_sigma")
		if _, ok := c.Meta["sigmas"]; ok {
			c.CompareNumbers(t, widen(plan.Sigmas), "sigmas")
		}
		x := append([]float32(nil), c.FileTensor(t, "init").F32...)
		for i := range x {
			x[i] *= float32(plan.InitSigma)
		}
		c.Compare(t, "x", flat(execute(t, plan, x, draws(t, c, "noise"), fake)))

		if !c.Has("img2img.x") {
			return
		}
		plan, err = New(kind, config, steps, Options{Original: original, Strength: strength(t, c)})
		if err != nil {
			t.Fatal(err)
		}
		c.CompareNumbers(t, []float64{float64(plan.Skipped)}, "img2img", "t_start")
		c.CompareNumbers(t, plan.Timesteps[plan.Skipped:], "img2img", "timesteps")
		clean, noise := c.FileTensor(t, "img2img.latents").F32, c.FileTensor(t, "img2img.noise").F32
		for i := range x {
			x[i] = float32(plan.Start.Clean)*clean[i] + float32(plan.Start.Noise)*noise[i]
		}
		c.Compare(t, "img2img.x", flat(execute(t, plan, x, draws(t, c, "img2img.noise"), fake)))
	})
}

// configOf reads a case's class and overrides over the file's base configuration.
func configOf(t *testing.T, c *paritytest.Case) (Kind, Config) {
	t.Helper()
	kind, err := KindOfClass(c.Text("class"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Base map[string]any `json:"base_config"`
	}
	c.Root.JSON(t, "schedulers/"+c.Base+".json", &file)
	for key, v := range c.Meta["overrides"].(map[string]any) {
		file.Base[key] = v
	}
	data, err := json.Marshal(file.Base)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ParseConfig(data)
	if err != nil {
		t.Fatal(err)
	}
	return kind, config
}

func draws(t *testing.T, c *paritytest.Case, name string) [][]float32 {
	if !c.Has(name) {
		return nil
	}
	return rows(c.Tensor(t, name))
}

func widen(x []float32) []float64 {
	var out []float64
	for _, v := range x {
		out = append(out, float64(v))
	}
	return out
}

// strength is the one that the set was made with.
func strength(t *testing.T, c *paritytest.Case) float64 {
	var variant struct{ Sched struct{ Strength float64 } }
	c.Root.JSON(t, "variant.json", &variant)
	return variant.Sched.Strength
}

func compareTraining(t *testing.T, c *paritytest.Case) {
	s, err := NewSchedule(StableDiffusion())
	if err != nil {
		t.Fatal(err)
	}
	latents, noise := rows(c.Tensor(t, "latents")), rows(c.Tensor(t, "noise"))
	var noised, velocity [][]float32
	var snr []float32
	for k, step := range c.Tensor(t, "timesteps").I64 {
		mix := func(clean, noisy float64) []float32 {
			y := make([]float32, len(latents[k]))
			for i := range y {
				y[i] = float32(clean)*latents[k][i] + float32(noisy)*noise[k][i]
			}
			return y
		}
		noised = append(noised, mix(s.AddNoise(int(step))))
		velocity = append(velocity, mix(s.Velocity(int(step))))
		snr = append(snr, float32(s.SNR(int(step))))
	}
	c.Compare(t, "add_noise", flat(noised))
	c.Compare(t, "velocity", flat(velocity))
	c.Compare(t, "snr", snr)
}

func TestNewErrors(t *testing.T) {
	for _, tc := range []struct {
		name  string
		kind  Kind
		steps int
		edit  func(*Config)
		o     Options
		want  string
	}{
		{"ErrName", "Heun", 5, nil, Options{}, "is not one of DDIM, K_EULER"},
		{"ErrNoSteps", DDIM, 0, nil, Options{}, "between 1 and 1000"},
		{"ErrTooManySteps", DDIM, 1001, nil, Options{}, "between 1 and 1000"},
		{"ErrMoreThanTrained", Euler, 51, func(c *Config) { c.TrainTimesteps = 50 }, Options{}, "between 1 and 50"},
		{"ErrTimestep", DDIM, 1000, nil, Options{}, "asks for timestep 1000"},
		{"ErrStrength", DDIM, 10, nil, Options{Strength: 1.5}, "strength is 1.5"},
		{"ErrNothingLeft", DDIM, 10, nil, Options{Strength: 0.05}, "leaves no step"},
		{"ErrPrediction", DDIM, 10, func(c *Config) { c.PredictionType = "sample" }, Options{}, "prediction_type"},
		{"ErrEqualTimesteps", DPMMultistep, 1000, func(c *Config) { c.TrainTimesteps = 1000; c.TimestepSpacing = "linspace" }, Options{}, "no finite coefficients"},
		{"ErrNoSignal", DDIM, 10, func(c *Config) { c.ZeroSNR = true; c.TimestepSpacing = "trailing" }, Options{}, "no finite coefficients"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := StableDiffusion()
			if tc.edit != nil {
				tc.edit(&c)
			}
			_, err := New(tc.kind, c, tc.steps, tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// Every method plans every number of steps that a user may ask for: no panic, and, but for the named exceptions at
// high numbers, no error; registers are written before they are read; and the last step leaves no noise in a sample
// that holds the answer.
func TestEveryStepCount(t *testing.T) {
	clean := []float32{0.5, -1.25, 2}
	for _, kind := range Kinds() {
		for _, velocity := range []bool{false, true} {
			for _, strength := range []float64{0, 0.3, 0.8, 1} {
				for _, steps := range []int{1, 2, 3, 4, 5, 7, 10, 14, 15, 16, 30, 49, 50, 99, 100, 250, 333, 499, 500} {
					config := StableDiffusion()
					if velocity {
						config.PredictionType = "v_prediction"
					}
					p, err := New(kind, config, steps, Options{Strength: strength})
					if err != nil {
						if strings.Contains(err.Error(), "leaves no step") && float64(steps)*strength < 1 {
							continue
						}
						t.Errorf("%s %d steps, strength %v: %v", kind, steps, strength, err)
						continue
					}
					x := []float32{1, -0.5, 0.25}
					if strength > 0 {
						for i := range x {
							x[i] = float32(p.Start.Clean)*clean[i] + float32(p.Start.Noise)*x[i]
						}
					} else {
						for i := range x {
							x[i] *= float32(p.InitSigma)
						}
					}
					got := execute(t, p, x, noises(p, 3), func(x []float32, at float64) []float32 { return fake(x, at) })
					for _, v := range got[len(got)-1] {
						if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
							t.Errorf("%s %d steps, strength %v ends at %v", kind, steps, strength, v)
							break
						}
					}
				}
			}
		}
	}
}

func noises(p *Plan, size int) [][]float32 {
	var out [][]float32
	for _, e := range p.Evals {
		for range e.Draws {
			out = append(out, make([]float32, size))
		}
	}
	return out
}

// A network that knows the answer: every method ends at it, up to what is left at the schedule's lowest level.
func TestPerfectNetwork(t *testing.T) {
	s, err := NewSchedule(StableDiffusion())
	if err != nil {
		t.Fatal(err)
	}
	const clean = 0.7
	for _, kind := range Kinds() {
		for _, velocity := range []bool{false, true} {
			config := StableDiffusion()
			if velocity {
				config.PredictionType = "v_prediction"
			}
			p, err := New(kind, config, 30, Options{})
			if err != nil {
				t.Fatal(err)
			}
			x := []float32{float32(p.InitSigma)}
			got := execute(t, p, x, noises(p, 1), func(x []float32, at float64) []float32 {
				// Where the input is sqrt(a) clean + sqrt(1-a) eps, eps and v follow. Every method scales its input so.
				a := interpolate(s.AlphasCumprod, at)
				eps := (float64(x[0]) - math.Sqrt(a)*clean) / math.Sqrt(1-a)
				if velocity {
					return []float32{float32(math.Sqrt(a)*eps - math.Sqrt(1-a)*clean)}
				}
				return []float32{float32(eps)}
			})
			if last := float64(got[len(got)-1][0]); math.Abs(last-clean) > 0.05 {
				t.Errorf("%s velocity %v: ends at %v, want about %v", kind, velocity, last, clean)
			}
		}
	}
}

func TestParseConfig(t *testing.T) {
	for _, tc := range []struct{ name, data, want string }{
		{"OK", `{"_class_name":"PNDMScheduler","beta_start":0.00085,"beta_end":0.012,"beta_schedule":"scaled_linear"}`, ""},
		{"OKInfinity", `{"lambda_min_clipped": -Infinity, "a \" NaN": "Infinity"}`, ""},
		{"OKNull", `{"trained_betas": null, "skip_prk_steps": true}`, ""},
		{"OKOtherMethod", `{"_class_name":"HeunDiscreteScheduler"}`, ""},
		{"ErrJSON", `{"beta_start":`, "scheduler/scheduler_config.json: unexpected end"},
		{"ErrType", `{"beta_start":"x"}`, "scheduler/scheduler_config.json: json"},
		{"ErrClass", `{"_class_name":"FlowMatchEulerDiscreteScheduler"}`, `_class_name is "FlowMatchEulerDiscreteScheduler"; supported: DDIM`},
		{"ErrThresholding", `{"thresholding":true}`, "thresholding"},
		{"ErrBetas", `{"trained_betas":[0.1]}`, "trained_betas"},
		{"ErrRungeKutta", `{"_class_name":"PNDMScheduler","skip_prk_steps":false}`, "skip_prk_steps"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ParseConfig([]byte(tc.data))
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a": -Infinity`, `"\`, `{"num_train_timesteps": 1e99}`, `{"num_train_timesteps":1,"trained_betas":[2]}`} {
		f.Add([]byte(seed), 3)
	}
	f.Fuzz(func(t *testing.T, data []byte, steps int) {
		c, err := ParseConfig(data)
		if err != nil || c.TrainTimesteps > 2000 {
			return
		}
		for _, kind := range Kinds() {
			New(kind, c, steps%50, Options{})
			New(kind, c, steps%50, Options{Original: true, Strength: 0.5})
		}
	})
}
