// Package sampler turns a noise schedule, a sampling method and a number of steps into a plan: when the network is
// evaluated, and how the sample is updated from what it said.
//
// # A plan is linear combinations
//
// Every method here, for noise (epsilon) and velocity (v) prediction alike, computes each new value as a sum of
// known tensors times numbers that depend on the schedule and the step alone. So a sampler holds no tensors: New
// returns the numbers, and whoever owns the device executes them, one y = Σ cᵢxᵢ per Update, over a few
// registers:
//
//	X            the sample; starts as noise·InitSigma, or as Start.Clean·latents + Start.Noise·noise
//	M            what the network answered for this evaluation, after guidance
//	N            fresh unit noise, drawn Eval.Draws times per evaluation (0 or 1)
//	H(0), H(1)…  history the plan keeps; their first use is always a write
//
// and the loop is
//
//	for each Eval: network reads X·InputScale at Timestep → M; draw N; run the Updates in order; (inpainting: blend X
//	with Renoise.Clean·latents + Renoise.Noise·noise outside the mask).
//
// Terms of an update read the values from before it, so a register may stand on both sides.
//
// # What it follows
//
// Timesteps, sigmas and coefficients are those of diffusers 0.42.1, read from scheduler_config.json. Options.Original
// gives those of 0.11.1 (what the hosted original ran) where the two differ. Schedules are made in float32 step by
// step as there; coefficients are float64.
//
// # Quirks, all kept on purpose
//
//   - PNDM with n ≥ 2 steps evaluates n+1 times: its second timestep comes twice, and the second of the two goes back to
//     the first sample. Started in the middle (image→image) it takes its second evaluation for that repetition, too.
//   - LMS started in the middle uses the coefficients of full order while it has fewer derivatives.
//   - K_EULER, K_EULER_ANCESTRAL and KLMS with one step evaluate at timestep 0 alone (linspace from 0 to 999 with one
//     value is 0); InitSigma is then the sigma of timestep 0, 14.6 in the original.
//   - DPM-Solver++ ends at sigma 0, in the original at the schedule's alpha of timestep 0, and the original goes below
//     order 2 at the end only under 15 steps.
//   - The original's DDPM takes no steps_offset, may evaluate more often than asked where the steps do not divide 1000, and
//     takes the variance of one training step. Its Euler draws noise that it does not use.
//   - DDIM, PNDM and DDPM in the original's inpainting blend with the picture renoised at the timestep just done, now at the
//     next one (and with the clean picture at the end).
//   - UniPC with bh1 going to sigma 0 gives not-a-number there; here it gives the limit, the last prediction.
//   - clip_sample is read by nobody: diffusers' Stable Diffusion pipelines turn it off whatever a file says.
//   - A missing skip_prk_steps means true (diffusers: false): no Stable Diffusion model uses Runge–Kutta steps.
//
// The package computes on numbers only. Seeds, noise and guidance are generate's, losses are train's.
package sampler
