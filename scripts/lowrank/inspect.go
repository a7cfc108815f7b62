package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/lora"
)

func inspectCommand() *cobra.Command {
	var ref string
	cmd := &cobra.Command{
		Use:   "inspect FILE",
		Short: "Say what is in a concept's file",
		Long: `Say what is in a concept's file (.safetensors, or PyTorch's .pt and .bin): layout, base model, layers, ranks, scales, words, metadata, and the keys that
nothing can use. No base model is needed; --base names one beside SD 1, SD 2 and SDXL that the file may belong to. It ends
with an error where the file cannot be used.`,
		Example: `  lowrank inspect neon.safetensors`,
		Args:    takes("a concept's file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			layers, err := layersOf(ref)
			if err != nil {
				return err
			}
			report, err := lora.Inspect(args[0], layers)
			if err != nil {
				return err
			}
			if err := report.Write(cmd.OutOrStdout()); err != nil {
				return err
			}
			if report.Problem != "" {
				return fmt.Errorf("%s cannot be used: see the problem above", args[0])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&ref, "base", embedded.Name, "a base model that FILE may belong to: a name, a folder or a file")
	return cmd
}
