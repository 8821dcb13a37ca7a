package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) abandonCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "abandon ID --reason R",
		Short: "Give up a process of which nobody can say how far it came",
		Long: `Give up a process of which nobody can say how far it came: an orphaned or parked one
at once, one that runs by asking its handler to end. Who asked, when and why stands
on the process as evidence. One that waits to be run is cancelled instead: see
drover cancel.`,
		Args: oneArgument("ID", isID),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reason == "" {
				return usage(errors.New("--reason is required: it stands on the process as evidence"))
			}
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return c.patiently(cmd.Context(), func(ctx context.Context) error {
				ended, err := r.Abandon(ctx, args[0], registry.Request{By: whoAmI(), Reason: reason})
				if err != nil {
					return err
				}
				return c.printAbandoned(args[0], ended)
			})
		},
	}
	cmd.Flags().Var(textValue{&reason, notBlank}, "reason", "why, for the record (required)")
	return cmd
}

func (c *cli) printAbandoned(id string, ended bool) error {
	status := "requested"
	if ended {
		status = string(registry.StatusAbandoned)
	}
	if c.json() {
		return c.printJSON(map[string]string{"id": id, "abandon": status})
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s\n", id, status)
	return err
}
