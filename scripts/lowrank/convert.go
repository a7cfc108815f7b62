package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/clip"
	"github.com/lowrank/lowrank/gpurunner/lora"
	"github.com/lowrank/lowrank/gpurunner/unet"
)

func convertCommand() *cobra.Command {
	var format, ref string
	cmd := &cobra.Command{
		Use:   "convert --format FORMAT IN OUT",
		Short: "Write a concept's file in another program's layout",
		Long: `Write a concept's file in another program's layout.

IN may be in any layout of cloneofsimo/lora, diffusers, PEFT, kohya, AUTOMATIC1111 or LyCORIS; it is recognised by its
keys. It may be a .safetensors file, one of PyTorch's (.pt, .bin), of which tensors are read and nothing is run, a folder
that diffusers or PEFT saved, or a picture (.png) with an embedding inside. OUT gets one of three:

  cloneofsimo  the original's, which Replicate's models of 2023 read
  diffusers    diffusers 0.25 and later: pipe.load_lora_weights("OUT"); the concept's words lie in the file too, but
               diffusers does not read them from it
  kohya        AUTOMATIC1111, ComfyUI; the concept's words are bundled (diffusers reads it where there are none)

The base model is recognised by shapes: SD 1, SD 2, SDXL, or the one of --base. Keys that belong to no layer of it are
listed and left behind; so are the file's metadata.`,
		Example: `  lowrank convert --format kohya neon.safetensors neon-a1111.safetensors`,
		Args:    takes("the file to read", "the file to write"),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := lora.ParseFormat(format)
			if err != nil {
				return err
			}
			if err := checkOutput("OUT", args[1]); err != nil {
				return err
			}
			layers, err := layersOf(ref)
			if err != nil {
				return err
			}
			set, err := lora.Convert(args[0], args[1], f, layers)
			if err != nil {
				return err
			}
			for _, key := range set.Unused {
				fmt.Fprintf(cmd.ErrOrStderr(), "lowrank: left behind: %q\n", key)
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s: %s of %s, %d layers, %d tokens\n", args[1], f, set.Base.Name, len(set.Adapters), len(set.Tokens))
			return err
		},
	}
	cmd.Flags().StringVar(&format, "format", "", "layout of OUT: cloneofsimo, diffusers or kohya")
	cmd.Flags().StringVar(&ref, "base", embedded.Name, "a base model that IN may belong to, beside SD 1, SD 2 and SDXL: a name, a folder or a file")
	if err := cmd.MarkFlagRequired("format"); err != nil {
		panic(err) // the flag is defined two lines above
	}
	return cmd
}

// layersOf lists the layers of a base model from its configurations, without
// its weights.
func layersOf(ref string) (*lora.Base, error) {
	b, err := openBase(ref)
	if err != nil {
		return nil, err
	}
	defer b.Close()
	raw, err := b.Config("unet/config.json")
	if err != nil {
		return nil, err
	}
	network, err := unet.ParseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", ref, err)
	}
	var encoders []clip.Config
	for _, part := range []lora.Part{lora.TextEncoder, lora.TextEncoder2} {
		if !b.Has(string(part)) {
			continue
		}
		if raw, err = b.Config(string(part) + "/config.json"); err != nil {
			return nil, err
		}
		config, err := clip.ParseConfig(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", ref, err)
		}
		encoders = append(encoders, config)
	}
	return lora.NewBase(b.Card.Name, network, encoders...), nil
}
