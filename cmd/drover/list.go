package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

type listFlags struct {
	statuses    []string
	kind, queue string
	after       string
	limit       int
	quiet, full bool
}

func (c *cli) listCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List processes in the order of their ids",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := f.filter()
			if err != nil {
				return usage(err)
			}
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			page, err := r.List(cmd.Context(), filter)
			if err != nil {
				return err
			}
			return c.printPage(page, f.quiet)
		},
	}
	cmd.Flags().StringSliceVar(&f.statuses, "status", nil, "only these, as scheduled,pending,running,orphaned,parked,completed,failed,cancelled,abandoned")
	cmd.Flags().StringVar(&f.kind, "kind", "", "only this kind")
	cmd.Flags().StringVar(&f.queue, "queue", "", "only this queue")
	cmd.Flags().IntVar(&f.limit, "limit", 100, "at most this many, 1 to 10000")
	cmd.Flags().StringVar(&f.after, "after", "", "only ids beyond this one")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "print ids only")
	cmd.Flags().BoolVar(&f.full, "full", false, "with input, output and history")
	return cmd
}

func (f listFlags) filter() (registry.Filter, error) {
	if f.limit < 1 || f.limit > 10_000 {
		return registry.Filter{}, fmt.Errorf("--limit %d: it must be 1 to 10000", f.limit)
	}
	filter := registry.Filter{Kind: f.kind, Queue: f.queue, After: f.after, Limit: f.limit, Full: f.full}
	for _, s := range f.statuses {
		status := registry.Status(strings.TrimSpace(s))
		if !status.Valid() {
			return registry.Filter{}, fmt.Errorf("--status %s: there is no such status", s)
		}
		filter.Statuses = append(filter.Statuses, status)
	}
	return filter, nil
}

func (c *cli) printPage(page registry.Page, quiet bool) error {
	var rows [][]string
	for _, p := range page.Processes {
		var err error
		switch {
		case c.json() && quiet:
			err = c.printJSON(p.ID)
		case c.json():
			err = c.printJSON(p)
		case quiet:
			_, err = fmt.Fprintln(c.stdout, p.ID)
		default:
			rows = append(rows, []string{p.ID, p.Kind, p.Queue, string(p.Status), strconv.Itoa(p.Attempt), stamp(p.CreatedAt)})
		}
		if err != nil {
			return err
		}
	}
	if !c.json() && !quiet {
		if err := c.printTable([]string{"ID", "KIND", "QUEUE", "STATUS", "ATTEMPT", "CREATED"}, rows); err != nil {
			return err
		}
	}
	for _, err := range page.Corrupt {
		c.hint("passed over: %v", err)
	}
	if page.More {
		c.hint("there are more: drover list --after %s", shellQuote(page.Next))
	}
	return nil
}

// shellQuote makes a hint that can be copied into a shell.
func shellQuote(s string) string {
	plain := strings.TrimFunc(s, func(c rune) bool {
		return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("-_./:@", c)
	})
	if plain == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
