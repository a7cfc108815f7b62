package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/gpurunner/diffusion"
	"github.com/lowrank/lowrank/gpurunner/generate"
	"github.com/lowrank/lowrank/gpurunner/imageops"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/pngtext"
	"github.com/lowrank/lowrank/gpurunner/sampler"
)

// drawFlags are the flags of lowrank generate.
type drawFlags struct {
	base, negative, scheduler, size, image, mask, out string
	steps, num                                        int
	guidance, strength                                float64
	seed                                              uint64
	loras                                             []string
	loraScales                                        string
	device                                            pick.Request
}

func generateCommand() *cobra.Command {
	var f drawFlags
	cmd := &cobra.Command{
		Use:   "generate [flags] PROMPT",
		Short: "Draw pictures of a prompt",
		Long: `Draw pictures of a prompt, and write them as PNG files that say how they were made.

A concept's file is mounted with --lora; the prompt calls the first one <1>, the second <2>, and so on.`,
		Example: `  lowrank generate "a penguin on a blue background"
  lowrank generate --num 3 --seed 7 --out castle.png "a castle in the style of chalk"
  lowrank generate --lora neon.safetensors --lora-scale 0.8 "a pizza in the style of <1>"
  lowrank generate --base ./stable-diffusion-v1-5 --size 512x768 --steps 25 "a lighthouse at night"
  lowrank generate --image photo.png --strength 0.6 "a watercolour of a cat"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("want one prompt, in quotes, such as \"a penguin on a blue background\"; got %d arguments", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return draw(cmd, args[0], &f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.base, "base", embedded.Name, "base model: a name, a diffusers folder, or a .safetensors file")
	flags.StringVar(&f.negative, "negative", "", "what the pictures should not show")
	flags.IntVar(&f.steps, "steps", 0, "steps of the sampler (default: the base's)")
	flags.Float64Var(&f.guidance, "guidance", 0, "how closely to follow the prompt; 1 is not at all (default: the base's)")
	flags.StringVar(&f.scheduler, "scheduler", "", "sampler, one of "+kindNames()+" (default: the base's)")
	flags.Uint64Var(&f.seed, "seed", 0, "seed of the randomness; the same seed gives the same picture (default: random)")
	flags.StringVar(&f.size, "size", "", "WIDTHxHEIGHT in pixels, multiples of 8 (default: the base's)")
	flags.StringVar(&f.image, "image", "", "picture to start from")
	flags.Float64Var(&f.strength, "strength", 0.8, "how much of --image to draw anew, above 0 to 1")
	flags.StringVar(&f.mask, "mask", "", "picture that is white where --image is to be drawn anew")
	flags.IntVar(&f.num, "num", 1, "number of pictures")
	deviceFlags(flags, &f.device)
	flags.StringVar(&f.out, "out", "out.png", "file to write; of several pictures x.png gives x-0.png, x-1.png, …")
	flags.StringArrayVar(&f.loras, "lora", nil, "a concept's file; may be repeated")
	flags.StringVar(&f.loraScales, "lora-scale", "1", "strength of the concepts: one number for all, or one each separated by commas")
	return cmd
}

func kindNames() string {
	var names []string
	for _, k := range sampler.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names, ", ")
}

func draw(cmd *cobra.Command, prompt string, f *drawFlags) error {
	ctx, messages := cmd.Context(), cmd.ErrOrStderr()
	if f.num < 1 {
		return fmt.Errorf("--num %d: it must be at least 1", f.num)
	}
	if f.image == "" && cmd.Flags().Changed("strength") {
		return fmt.Errorf("--strength needs --image")
	}
	if err := checkOutput("--out", f.out); err != nil {
		return err
	}
	if ext := filepath.Ext(f.out); ext != "" && !strings.EqualFold(ext, ".png") {
		return fmt.Errorf("--out %s: pictures are written as PNG; name it %s.png", f.out, strings.TrimSuffix(f.out, ext))
	}
	if err := handOver(f.device); err != nil {
		return err
	}
	b, err := openBase(f.base)
	if err != nil {
		return err
	}
	defer b.Close()
	pool, err := openDevice(f.device)
	if err != nil {
		return err
	}
	m, err := diffusion.Open(pool, b)
	if err != nil {
		return fmt.Errorf("%s: %w", f.base, err)
	}
	m.Bind(ctx)
	r, err := request(cmd, f, b.Card, m)
	if err != nil {
		return err
	}
	concepts, err := mountFiles(m, f, messages)
	if err != nil {
		return err
	}
	defer concepts.Release()
	for _, text := range []struct {
		name, from string
		to         *string
	}{{"the prompt", prompt, &r.Prompt}, {"the negative prompt", f.negative, &r.Negative}} {
		expanded, dropped, err := concepts.Expand(text.from)
		if err != nil {
			return fmt.Errorf("%s %w", text.name, err)
		}
		for _, n := range dropped {
			if len(f.loras) == 0 {
				fmt.Fprintf(messages, "lowrank: <%d> is drawn as the text that it is; give the file that it stands for with --lora\n", n)
				continue
			}
			fmt.Fprintf(messages, "lowrank: %s has no tokens of its own, so <%d> was left out of the prompt\n", f.loras[n-1], n)
		}
		*text.to = expanded
	}
	r.Words = concepts.Words

	bar := newProgress(messages, "drawing")
	r.Progress = func(s generate.Step) { bar.set(s.Image*s.Steps+s.Step, s.Images*s.Steps, "") }
	var written []string
	err = generate.Draw(ctx, m, *r, func(i int, p *imageops.Picture) error {
		path := outputPath(f.out, i, f.num)
		written = append(written, path)
		return writePicture(ctx, path, p, parameters(prompt, f.negative, r, f.base, i))
	})
	bar.close()
	if err != nil {
		return err
	}
	for _, path := range written {
		fmt.Fprintln(cmd.OutOrStdout(), path)
	}
	return nil
}

// request puts flags over the card's defaults.
func request(cmd *cobra.Command, f *drawFlags, card base.Card, m *diffusion.Model) (*generate.Request, error) {
	r := &generate.Request{
		Steps: f.steps, Guidance: f.guidance, Seed: f.seed, Num: f.num,
		Width: card.Drawing.Width, Height: card.Drawing.Height, Strength: f.strength, Last: true,
	}
	set := cmd.Flags().Changed
	r.EncodeEmpty = set("negative") // --negative "" is one that is empty, and not none
	if !set("steps") {
		r.Steps = card.Drawing.Steps
	}
	if !set("guidance") {
		r.Guidance = card.Drawing.Guidance
	}
	if !set("seed") {
		r.Seed = rand.Uint64N(1 << 32)
	}
	name := f.scheduler
	if name == "" {
		name = card.Drawing.Scheduler
	}
	var err error
	if r.Scheduler, err = sampler.ParseKind(name); err != nil {
		return nil, fmt.Errorf("--scheduler: %w", err)
	}
	if set("size") {
		if r.Width, r.Height, err = parseSize(f.size); err != nil {
			return nil, err
		}
		// Before --image is made that large.
		if err := generate.CheckSize(m, r.Width, r.Height); err != nil {
			return nil, fmt.Errorf("--%w", err) // it begins with the size
		}
	}
	return r, await(cmd.Context(), func() error { return readInputs(f, r, set("size"), m.VAEConfig().Factor()) })
}

// await returns what f does, or the error of ctx when that ends first: large
// pictures take seconds to read and to compress, and the process is about to end
// then.
func await(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// readInputs reads --image and --mask. Without --size the picture's own size,
// rounded down to what the autoencoder takes, is drawn; else it is resized.
func readInputs(f *drawFlags, r *generate.Request, sized bool, factor int) error {
	if f.image == "" {
		if f.mask != "" {
			return fmt.Errorf("--mask needs --image")
		}
		return nil
	}
	p, err := readPicture(f.image)
	if err != nil {
		return fmt.Errorf("--image: %w", err)
	}
	if !sized {
		r.Width, r.Height = p.Width/factor*factor, p.Height/factor*factor
		if r.Width == 0 || r.Height == 0 {
			return fmt.Errorf("--image %s is %dx%d; it must be at least %dx%d", f.image, p.Width, p.Height, factor, factor)
		}
	}
	if r.Image, err = p.Resize(r.Width, r.Height, imageops.Lanczos); err != nil {
		return fmt.Errorf("--image: %w", err)
	}
	if f.mask == "" {
		return nil
	}
	mask, err := readPicture(f.mask)
	if err != nil {
		return fmt.Errorf("--mask: %w", err)
	}
	r.Mask, err = generate.MaskOf(mask, r.Width, r.Height)
	return err
}

func readPicture(path string) (*imageops.Picture, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p, err := imageops.Decode(data, imageops.Options{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

// mountFiles mounts the files of --lora.
func mountFiles(m *diffusion.Model, f *drawFlags, messages io.Writer) (*generate.Concepts, error) {
	scales, err := parseScales(f.loraScales, len(f.loras))
	if err != nil {
		return nil, err
	}
	layers := generate.Layers(f.base, m)
	var mounts []lora.Mount
	for i, path := range f.loras {
		set, err := lora.Open(path, layers)
		if err != nil {
			return nil, err
		}
		if note := set.UnusedNote(); note != "" {
			fmt.Fprintf(messages, "lowrank: %s: %s\n", path, note)
		}
		mounts = append(mounts, lora.Mount{Set: set, Scale: float32(scales[i])})
	}
	return generate.Mount(m, mounts)
}

// parseScales reads one number for all files, or one each.
func parseScales(s string, files int) ([]float64, error) {
	parts := strings.Split(s, ",")
	if len(parts) != 1 && len(parts) != files {
		return nil, fmt.Errorf("--lora-scale has %d numbers for %d files; give one for all, or one each", len(parts), files)
	}
	scales := make([]float64, files)
	for i := range max(files, 1) {
		part := strings.TrimSpace(parts[min(i, len(parts)-1)])
		v, err := strconv.ParseFloat(part, 32)
		if err != nil || v != v {
			return nil, fmt.Errorf("--lora-scale: %q is not a number", part)
		}
		if i < files {
			scales[i] = v
		}
	}
	return scales, nil
}

// outputPath is the file of picture i of num.
func outputPath(out string, i, num int) string {
	if num == 1 {
		return out
	}
	ext := filepath.Ext(out)
	return fmt.Sprintf("%s-%d%s", strings.TrimSuffix(out, ext), i, ext)
}

// parameters is the text inside of a picture's file.
func parameters(prompt, negative string, r *generate.Request, base string, i int) string {
	var b strings.Builder
	fmt.Fprintln(&b, prompt)
	if negative != "" {
		fmt.Fprintln(&b, "Negative prompt:", negative)
	}
	fmt.Fprintf(&b, "Steps: %d, Sampler: %s, CFG scale: %g, Seed: %d, Picture: %d, Size: %dx%d, Model: %s, Version: lowrank %s",
		r.Steps, r.Scheduler, r.Guidance, r.Seed, i, r.Width, r.Height, filepath.Base(base), version)
	return b.String()
}

// writePicture writes a PNG beside its place and moves it there, so that no
// half picture is left.
func writePicture(ctx context.Context, path string, p *imageops.Picture, text string) error {
	var b bytes.Buffer
	if err := await(ctx, func() error { return pngtext.Encode(&b, p.Image(), text) }); err != nil {
		return err
	}
	return writeFile(path, b.Bytes())
}
