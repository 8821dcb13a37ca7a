package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) pruneCommand() *cobra.Command {
	var olderThan time.Duration
	var names []string
	cmd := &cobra.Command{
		Use:   "prune --older-than D",
		Short: "Delete processes that ended long enough ago",
		Long: `Delete processes that ended longer than this ago, with everything that belongs to
them, and print how many. Their ids are unknown then: a start with one is a new
process.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !cmd.Flags().Changed("older-than") {
				return usage(errors.New("--older-than is required, such as --older-than 24h"))
			}
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			n, err := r.Prune(cmd.Context(), registry.PruneOptions{Before: r.Now().Add(-olderThan), Outcomes: outcomesOf(names)})
			return errors.Join(c.printPruned(n, err), err)
		},
	}
	cmd.Flags().Var(durationValue{to: &olderThan}, "older-than", "how long ago they ended (required)")
	cmd.Flags().Var(list(&names, eachOf(statusNames(registry.Status.Ended)...)), "status", "only these, as completed,failed,cancelled,abandoned (default all of them)")
	offer(cmd, "status", completeStatus(registry.Status.Ended))
	return cmd
}

func outcomesOf(names []string) (outcomes []registry.Outcome) {
	for _, name := range names {
		outcomes = append(outcomes, registry.Outcome(name))
	}
	return outcomes
}

// printPruned says how many are gone, also when something came in between.
func (c *cli) printPruned(n int, err error) error {
	if err != nil && n == 0 {
		return nil
	}
	if c.json() {
		return c.printJSON(map[string]int{"pruned": n})
	}
	_, err = fmt.Fprintln(c.stdout, n)
	return err
}
