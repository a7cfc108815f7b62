package main

import (
	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/device/pick"
)

func doctorCommand() *cobra.Command {
	var r pick.Request
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what this machine computes on, and prove that it computes right",
		Long: `Say what this machine computes on, and prove that it computes right: driver, GPU, memory and kernels where there is a GPU,
else what keeps it from being used; then a self-test of a few seconds: a GPU against the processor's results, the processor's kernels
against those of plain Go.`,
		Example: "  lowrank doctor\n  lowrank doctor --device cuda --precision bf16",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := handOver(r); err != nil {
				return err
			}
			return pick.Doctor(cmd.OutOrStdout(), r)
		},
	}
	deviceFlags(cmd.Flags(), &r)
	return cmd
}
