package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// takes refuses any number of arguments but those that a command's usage names.
// what says what they are; none for a command that takes none.
func takes(what ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == len(what):
			return nil
		case len(what) == 0:
			return fmt.Errorf("%s takes no arguments but flags, and was given %q", cmd.CommandPath(), args[0])
		case len(args) > len(what):
			return fmt.Errorf("%s takes %s, and was given %q too; quote a name that has spaces", cmd.CommandPath(), strings.Join(what, " and "), args[len(what)])
		}
		return fmt.Errorf("%s needs %s: %s", cmd.CommandPath(), what[len(args)], cmd.UseLine())
	}
}

// verbs makes a command that does nothing without one of its own commands show
// its help alone, and refuse a word that is none of them.
func verbs(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		hint := fmt.Sprintf("%s --help lists them", cmd.CommandPath())
		cmd.SuggestionsMinimumDistance = 2
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			hint = "did you mean " + strings.Join(near, " or ") + "?"
		}
		return fmt.Errorf("%s has no command %q; %s", cmd.CommandPath(), args[0], hint)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}
