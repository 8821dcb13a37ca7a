package main

import (
	"context"

	"github.com/spf13/cobra"
)

func (c *cli) retryCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "retry ID",
		Short: "Run a process again that has ended, under the same id",
		Long: `Run a process again that has ended, however it did, under the same id: as a new
series, with its attempts numbered on and all other counters at zero. It prints the
id.`,
		Args: oneArgument("ID", isID),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			err = c.patiently(cmd.Context(), func(ctx context.Context) error {
				_, err := r.Reopen(ctx, args[0])
				return err
			})
			if err != nil {
				return err
			}
			if !wait || !c.json() {
				if err := c.printStarted(args[0]); err != nil || !wait {
					return err
				}
			}
			return c.waitStarted(cmd.Context(), r, args)
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	return cmd
}
