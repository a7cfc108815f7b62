package sampler

import (
	"fmt"
	"strings"
)

// Kind names a sampling method, as the API spells it.
type Kind string

// The methods. The first six are those of the original API; KarrasDPM is DPMSolverMultistep over Karras' sigmas.
const (
	DDIM           Kind = "DDIM"               // Song et al. 2020, eta 0
	Euler          Kind = "K_EULER"            // Karras et al. 2022, algorithm 2 without churn
	EulerAncestral Kind = "K_EULER_ANCESTRAL"  // k-diffusion
	DPMMultistep   Kind = "DPMSolverMultistep" // Lu et al. 2022, DPM-Solver++ 2M
	PNDM           Kind = "PNDM"               // Liu et al. 2022, linear multistep part only
	LMS            Kind = "KLMS"               // k-diffusion, order 4
	KarrasDPM      Kind = "KarrasDPM"
	UniPC          Kind = "UniPCMultistep" // Zhao et al. 2023, bh1 and bh2, order 2
	DDPM           Kind = "DDPM"           // Ho et al. 2020
)

// Kinds lists every method in the order in which they are shown.
func Kinds() []Kind {
	return []Kind{DDIM, Euler, DPMMultistep, EulerAncestral, PNDM, LMS, KarrasDPM, UniPC, DDPM}
}

// ParseKind returns the method of a name; the error of an unknown one lists the names.
func ParseKind(name string) (Kind, error) {
	var all []string
	for _, k := range Kinds() {
		if string(k) == name {
			return k, nil
		}
		all = append(all, string(k))
	}
	return "", fmt.Errorf("scheduler %q is not one of %s", name, strings.Join(all, ", "))
}

// KindOfClass returns the method of a scheduler_config.json's _class_name, as in "PNDMScheduler".
func KindOfClass(class string) (Kind, error) {
	byClass := map[string]Kind{
		"DDIMScheduler": DDIM, "EulerDiscreteScheduler": Euler, "EulerAncestralDiscreteScheduler": EulerAncestral,
		"DPMSolverMultistepScheduler": DPMMultistep, "PNDMScheduler": PNDM, "LMSDiscreteScheduler": LMS,
		"UniPCMultistepScheduler": UniPC, "DDPMScheduler": DDPM,
	}
	if k, ok := byClass[class]; ok {
		return k, nil
	}
	return "", fmt.Errorf("scheduler class %q is not supported; choose a scheduler by name", class)
}
