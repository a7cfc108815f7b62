package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/lowrank/lowrank/events"
	"github.com/lowrank/lowrank/infra"
	"github.com/lowrank/lowrank/infra/aws/stack"
	"github.com/lowrank/lowrank/infra/local"
	"github.com/lowrank/lowrank/infra/registry"
)

func tokenCommand() *cobra.Command {
	var data, stackName string
	cmd := &cobra.Command{
		Use:     "token",
		Short:   "Make, list and revoke the tokens that clients sign in with",
		Long:    "Make, list and revoke the tokens that clients sign in with. Only their hashes are kept; all of this works while the service runs.",
		Example: "  export REPLICATE_API_TOKEN=$(lowrank token create)\n  lowrank token list",
	}
	cmd.PersistentFlags().StringVar(&data, "data", "", dataHelp)
	cmd.PersistentFlags().StringVar(&stackName, "aws", "", awsHelp)
	cmd.MarkFlagsMutuallyExclusive("data", "aws")
	open := func(ctx context.Context, folder func(flag string) (string, error), f func(*registry.Registry) error) error {
		if stackName != "" {
			store, _, err := stack.Open(ctx, stackName)
			if err != nil {
				return err
			}
			return f(registry.Open(store.Ports().Documents))
		}
		dir, err := folder(data)
		if err != nil {
			return err
		}
		store, err := openData(ctx, dir, local.Options{})
		if err != nil {
			return err
		}
		defer store.Close()
		return f(registry.Open(store.Ports().Documents))
	}

	var owner string
	create := &cobra.Command{
		Use:     "create",
		Short:   "Make a token and print it, once",
		Example: "  export REPLICATE_API_TOKEN=$(lowrank token create)\n  lowrank token create --owner alice",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := registry.CheckOwner(events.Owner(owner)); err != nil {
				return fmt.Errorf("--owner: %w", err)
			}
			return open(cmd.Context(), dataDir, func(r *registry.Registry) error {
				token, err := r.CreateToken(cmd.Context(), events.Owner(owner), time.Now())
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), token)
				return err
			})
		},
	}
	create.Flags().StringVar(&owner, "owner", string(registry.DefaultOwner), "whose token it is; one owner never sees another's jobs")

	list := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens by name, never their text",
		Example: "  lowrank token list",
		Args:    takes(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return open(cmd.Context(), existingData, func(r *registry.Registry) error {
				tokens, err := r.Tokens(cmd.Context())
				if err != nil {
					return err
				}
				w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "NAME\tOWNER\tCREATED")
				for _, t := range tokens {
					fmt.Fprintf(w, "%s\t%s\t%s\n", t.Hash[:8], t.Owner, t.CreatedAt.Format(time.RFC3339))
				}
				return w.Flush()
			})
		},
	}
	revoke := &cobra.Command{
		Use:     "revoke NAME",
		Short:   "Make a token worthless, by its name or its text",
		Example: "  lowrank token revoke 3f9c12ab",
		Args:    takes("a token's name, as `lowrank token list` shows it"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return open(cmd.Context(), existingData, func(r *registry.Registry) error {
				t, err := r.RevokeToken(cmd.Context(), args[0])
				if errors.Is(err, infra.ErrNotFound) {
					return errors.New("no token has this name or text; \"lowrank token list\" shows the names")
				}
				if errors.Is(err, infra.ErrInvalid) {
					return fmt.Errorf("%q may mean several tokens or none: give the name as \"lowrank token list\" shows it, or the token itself", args[0])
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "revoked %s of %s\n", t.Hash[:8], t.Owner)
				return err
			})
		},
	}
	cmd.AddCommand(create, list, revoke)
	return verbs(cmd)
}
