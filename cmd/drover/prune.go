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
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			outcomes, err := pruneOutcomes(names)
			switch {
			case err != nil:
				return usage(err)
			case !cmd.Flags().Changed("older-than"):
				return usage(errors.New("--older-than is required, such as --older-than 24h"))
			case olderThan < 0:
				return usage(fmt.Errorf("--older-than %s: it must not be negative", olderThan))
			}
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			n, err := r.Prune(cmd.Context(), registry.PruneOptions{Before: r.Now().Add(-olderThan), Outcomes: outcomes})
			return errors.Join(c.printPruned(n, err), err)
		},
	}
	cmd.Flags().DurationVar(&olderThan, "older-than", 0, "how long ago they ended (required)")
	cmd.Flags().StringSliceVar(&names, "status", nil, "only these, as completed,failed,cancelled,abandoned (default all of them)")
	offer(cmd, "status", completeStatus(registry.Status.Ended))
	return cmd
}

func pruneOutcomes(names []string) ([]registry.Outcome, error) {
	statuses, err := parseStatuses(names)
	if err != nil {
		return nil, err
	}
	var outcomes []registry.Outcome
	for _, s := range statuses {
		if !s.Ended() {
			return nil, fmt.Errorf("--status %s: what has not ended can't be pruned", s)
		}
		outcomes = append(outcomes, registry.Outcome(s))
	}
	return outcomes, nil
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
