package sampler

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Config is what scheduler_config.json says. Absent keys have diffusers' defaults, which in part depend on the
// method; ParseConfig leaves those at their zero values.
type Config struct {
	ClassName       string    `json:"_class_name"`
	TrainTimesteps  int       `json:"num_train_timesteps"`
	BetaStart       float64   `json:"beta_start"`
	BetaEnd         float64   `json:"beta_end"`
	BetaSchedule    string    `json:"beta_schedule"` // linear, scaled_linear, squaredcos_cap_v2
	TrainedBetas    []float64 `json:"trained_betas"`
	PredictionType  string    `json:"prediction_type"`  // epsilon, v_prediction
	TimestepSpacing string    `json:"timestep_spacing"` // linspace, leading, trailing; "": the method's own
	StepsOffset     int       `json:"steps_offset"`
	SetAlphaToOne   *bool     `json:"set_alpha_to_one"` // nil: true for DDIM, false for PNDM
	SkipPRKSteps    *bool     `json:"skip_prk_steps"`   // nil: true
	ZeroSNR         bool      `json:"rescale_betas_zero_snr"`
	KarrasSigmas    bool      `json:"use_karras_sigmas"`
	FinalSigmas     string    `json:"final_sigmas_type"` // zero, sigma_min
	VarianceType    string    `json:"variance_type"`     // DDPM: fixed_small, fixed_large
	SolverOrder     int       `json:"solver_order"`      // DPM-Solver++, UniPC: 1 or 2
	SolverType      string    `json:"solver_type"`       // midpoint, heun; UniPC: bh1, bh2
	LowerOrderFinal *bool     `json:"lower_order_final"` // nil: true
	EulerAtFinal    bool      `json:"euler_at_final"`

	// Keys that would change the result and are not supported where they differ from the default.
	Thresholding      bool   `json:"thresholding"`
	ExponentialSigmas bool   `json:"use_exponential_sigmas"`
	BetaSigmas        bool   `json:"use_beta_sigmas"`
	LuLambdas         bool   `json:"use_lu_lambdas"`
	FlowSigmas        bool   `json:"use_flow_sigmas"`
	AlgorithmType     string `json:"algorithm_type"`
	InterpolationType string `json:"interpolation_type"`
	TimestepType      string `json:"timestep_type"`
}

// StableDiffusion is the schedule that all Stable Diffusion models were trained with.
func StableDiffusion() Config {
	no := false
	return Config{ClassName: "PNDMScheduler", TrainTimesteps: 1000, BetaStart: 0.00085, BetaEnd: 0.012, BetaSchedule: "scaled_linear",
		PredictionType: "epsilon", StepsOffset: 1, SetAlphaToOne: &no}
}

// ParseConfig reads a scheduler_config.json. Python writes infinities into such files (lambda_min_clipped), which JSON
// does not have; they are taken for absent.
func ParseConfig(data []byte) (Config, error) {
	c := Config{TrainTimesteps: 1000, BetaStart: 0.0001, BetaEnd: 0.02, BetaSchedule: "linear", PredictionType: "epsilon"}
	if err := json.Unmarshal(withoutInfinities(data), &c); err != nil {
		return Config{}, fmt.Errorf("scheduler/scheduler_config.json: %w", err)
	}
	return c, c.check()
}

// classes are diffusers' schedulers that read these keys as this package does: a model that names one of them can be
// drawn with any method. The others have another noise schedule (flow matching, EDM) or belong to a network that is
// trained for them alone (LCM).
var classes = []string{
	"DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler", "DEISMultistepScheduler",
	"DPMSolverMultistepScheduler", "DPMSolverSDEScheduler", "DPMSolverSinglestepScheduler", "EulerAncestralDiscreteScheduler",
	"EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2AncestralDiscreteScheduler", "KDPM2DiscreteScheduler",
	"LMSDiscreteScheduler", "PNDMScheduler", "SASolverScheduler", "UniPCMultistepScheduler",
}

func (c Config) check() error {
	bad := func(key string, value any, want string) error {
		return fmt.Errorf("scheduler/scheduler_config.json: %s is %v; supported: %s", key, value, want)
	}
	oneOf := func(value string, names ...string) bool {
		for _, n := range names {
			if value == n {
				return true
			}
		}
		return value == ""
	}
	switch {
	case !oneOf(c.ClassName, classes...):
		return bad("_class_name", fmt.Sprintf("%q", c.ClassName), strings.Join(classes, ", "))
	case c.TrainTimesteps < 1 || c.TrainTimesteps > 100_000:
		return bad("num_train_timesteps", c.TrainTimesteps, "1 to 100000")
	case c.TrainedBetas != nil && len(c.TrainedBetas) != c.TrainTimesteps:
		return bad("trained_betas", fmt.Sprint(len(c.TrainedBetas), " long"), "as many as num_train_timesteps")
	case !oneOf(c.BetaSchedule, "linear", "scaled_linear", "squaredcos_cap_v2"):
		return bad("beta_schedule", c.BetaSchedule, "linear, scaled_linear, squaredcos_cap_v2")
	case !(c.BetaStart > 0 && c.BetaEnd < 1 && c.BetaStart <= c.BetaEnd):
		return bad("beta_start to beta_end", fmt.Sprint(c.BetaStart, " to ", c.BetaEnd), "ascending, between 0 and 1")
	case !oneOf(c.PredictionType, "epsilon", "v_prediction"):
		return bad("prediction_type", c.PredictionType, "epsilon, v_prediction")
	case !oneOf(c.TimestepSpacing, "linspace", "leading", "trailing"):
		return bad("timestep_spacing", c.TimestepSpacing, "linspace, leading, trailing")
	case c.StepsOffset < 0 || c.StepsOffset > c.TrainTimesteps:
		return bad("steps_offset", c.StepsOffset, "0 or 1")
	case !oneOf(c.FinalSigmas, "zero", "sigma_min"):
		return bad("final_sigmas_type", c.FinalSigmas, "zero, sigma_min")
	case c.SolverOrder < 0 || c.SolverOrder > 2:
		return bad("solver_order", c.SolverOrder, "1, 2")
	case !oneOf(c.SolverType, "midpoint", "heun", "bh1", "bh2", "logrho"):
		return bad("solver_type", c.SolverType, "midpoint, heun, bh1, bh2")
	case !oneOf(c.VarianceType, "fixed_small", "fixed_large"):
		return bad("variance_type", c.VarianceType, "fixed_small, fixed_large")
	case !oneOf(c.AlgorithmType, "dpmsolver++", "deis"):
		return bad("algorithm_type", c.AlgorithmType, "dpmsolver++")
	case !oneOf(c.InterpolationType, "linear"):
		return bad("interpolation_type", c.InterpolationType, "linear")
	case !oneOf(c.TimestepType, "discrete"):
		return bad("timestep_type", c.TimestepType, "discrete")
	}
	for _, f := range []struct {
		key string
		on  bool
	}{{"thresholding", c.Thresholding}, {"use_exponential_sigmas", c.ExponentialSigmas}, {"use_beta_sigmas", c.BetaSigmas},
		{"use_lu_lambdas", c.LuLambdas}, {"use_flow_sigmas", c.FlowSigmas}} {
		if f.on {
			return bad(f.key, true, "false")
		}
	}
	if c.SkipPRKSteps != nil && !*c.SkipPRKSteps && c.ClassName == "PNDMScheduler" {
		return bad("skip_prk_steps", false, "true")
	}
	return nil
}

func (c Config) velocity() bool { return c.PredictionType == "v_prediction" }

// withoutInfinities puts null for the words Infinity, -Infinity and NaN outside of strings.
func withoutInfinities(data []byte) []byte {
	words := [][]byte{[]byte("-Infinity"), []byte("Infinity"), []byte("NaN")}
	out := make([]byte, 0, len(data))
	quoted := false
scan:
	for i := 0; i < len(data); {
		switch {
		case quoted && data[i] == '\\' && i+1 < len(data):
			out = append(out, data[i], data[i+1])
			i += 2
			continue
		case data[i] == '"':
			quoted = !quoted
		case !quoted:
			for _, w := range words {
				if bytes.HasPrefix(data[i:], w) {
					out = append(out, "null"...)
					i += len(w)
					continue scan
				}
			}
		}
		out = append(out, data[i])
		i++
	}
	return out
}
