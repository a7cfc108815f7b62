package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/gpurunner/base"
	"github.com/lowrank/lowrank/gpurunner/base/embedded"
	"github.com/lowrank/lowrank/gpurunner/models"
	"github.com/lowrank/lowrank/infra/aws/stack"
	"github.com/lowrank/lowrank/infra/bases"
)

// awsHelp is the help of --aws.
const awsHelp = "name of a stack on AWS (template.yaml) to work on, instead of the data folder"

// stackBases are the base models of a deployment.
func stackBases(ctx context.Context, name string) (bases.Store, error) {
	store, _, err := stack.Open(ctx, name)
	if err != nil {
		return bases.Store{}, err
	}
	p := store.Ports()
	return bases.Store{Blobs: p.Blobs, Docs: p.Documents}, nil
}

// addStackBase uploads a base model; what is there already is not sent again.
func addStackBase(cmd *cobra.Command, stackName, name, path string, isDefault bool) error {
	if err := checkBaseName(name); err != nil {
		return err
	}
	if name == embedded.Name {
		return fmt.Errorf("%s is the embedded base model's name; choose another", name)
	}
	b, err := base.Open(path, base.Options{})
	if err != nil {
		return err
	}
	b.Card.Name = name
	limits, err := models.Limits(b)
	if closeErr := b.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	store, err := stackBases(cmd.Context(), stackName)
	if err != nil {
		return err
	}
	shown := int64(-1)
	err = store.Add(cmd.Context(), limits, path, isDefault, func(done, total int64) {
		if percent := done * 100 / max(total, 1); percent > shown {
			shown = percent
			fmt.Fprintf(cmd.ErrOrStderr(), "\r%s: %d%% of %d MB", name, percent, total/1_000_000)
		}
	})
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.OutOrStdout(), "added %s to %s; the API shows it within a minute, runners fetch it when a job names it\n", name, stackName)
	return err
}

func listStackBases(cmd *cobra.Command, stackName string) error {
	store, err := stackBases(cmd.Context(), stackName)
	if err != nil {
		return err
	}
	all, err := store.List(cmd.Context())
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSIZE\tFILES\tDEFAULT")
	for i, b := range all {
		mark := ""
		if i == 0 {
			mark = "yes"
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\n", b.Limits.Name, b.Limits.Width, len(b.Files), mark)
	}
	return w.Flush()
}

func removeStackBase(cmd *cobra.Command, stackName, name string) error {
	store, err := stackBases(cmd.Context(), stackName)
	if err != nil {
		return err
	}
	return store.Remove(cmd.Context(), name)
}
