package main

import (
	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/device/pick"
	"github.com/lowrank/lowrank/gpurunner/sampler"
	"github.com/lowrank/lowrank/gpurunner/train"
)

// completionExamples load the completion into a running shell.
var completionExamples = map[string]string{
	"bash":       `  eval "$(lowrank completion bash)"`,
	"zsh":        `  autoload -U compinit && compinit && eval "$(lowrank completion zsh)"`,
	"fish":       `  lowrank completion fish | source`,
	"powershell": `  lowrank completion powershell | Out-String | Invoke-Expression`,
}

// addHelpers adds what cobra would, help and shell completion, with examples.
func addHelpers(root *cobra.Command) {
	offerValues(root)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Example = "  lowrank help train"
		case "completion":
			verbs(c).Example = completionExamples["bash"]
			for _, shell := range c.Commands() {
				shell.Example = completionExamples[shell.Name()]
			}
		}
	}
}

// flagValues are what a shell offers for a flag, whichever command has it.
func flagValues() map[string][]string {
	var schedulers []string
	for _, k := range sampler.Kinds() {
		schedulers = append(schedulers, string(k))
	}
	return map[string][]string{
		"task":      train.Tasks(),
		"method":    {train.MethodLoRA, train.MethodDreamBooth},
		"scheduler": schedulers,
		"format":    {"cloneofsimo", "diffusers", "kohya"},
		"device":    pick.Choices(),
		"precision": pick.Precisions(),
	}
}

// offerValues has shells complete the values of all commands' flags.
func offerValues(cmd *cobra.Command) {
	for flag, values := range flagValues() {
		if cmd.Flags().Lookup(flag) != nil {
			// It fails for a flag that is not there, or a second time: neither can be.
			_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	for _, sub := range cmd.Commands() {
		offerValues(sub)
	}
}
