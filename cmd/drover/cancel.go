package main

import (
	"context"
	"fmt"
	"os"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) cancelCommand() *cobra.Command {
	var reason string
	var wait bool
	cmd := &cobra.Command{
		Use:   "cancel ID...",
		Short: "Cancel processes: at once if they wait, by request if they run",
		Args:  someIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			worst := exitDone
			var accepted []string
			for _, id := range ids {
				err := c.patiently(cmd.Context(), func(ctx context.Context) error {
					ended, err := r.Cancel(ctx, id, registry.Request{By: whoAmI(), Reason: reason})
					if err != nil {
						return err
					}
					accepted = append(accepted, id)
					if !ended {
						c.hintUnanswerable(ctx, r, id)
					}
					return c.printCancelled(id, ended, wait)
				})
				worst = max(worst, c.exit(err))
			}
			if wait {
				worst = max(worst, c.waitCancelled(cmd, r, accepted))
			}
			if worst == exitDone {
				return nil
			}
			return &exitError{code: worst}
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the record")
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until they have ended")
	return cmd
}

// hintUnanswerable tells when a request is recorded that no node will answer.
// It is only a hint: that it can't be looked up is not worth an error.
func (c *cli) hintUnanswerable(ctx context.Context, r *registry.Registry, id string) {
	p, err := r.Get(ctx, id)
	if err == nil && p.Status == registry.StatusOrphaned && p.Disposition == registry.OwnerBound {
		c.hint("process %s is an owner-bound orphan: it stays one until its holder is known to be dead, or you give it up: drover abandon %s --reason WHY", id, shellQuote(id))
	}
}

func (c *cli) printCancelled(id string, ended, wait bool) error {
	status := "requested"
	switch {
	case wait:
		return nil // its end is printed
	case ended:
		status = string(registry.StatusCancelled)
	}
	if c.json() {
		return c.printJSON(map[string]string{"id": id, "cancel": status})
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s\n", id, status)
	return err
}

// waitCancelled waits for the ends. That one ended as cancelled is what was
// asked for; another end is not.
func (c *cli) waitCancelled(cmd *cobra.Command, r *registry.Registry, ids []string) int {
	worst := exitDone
	for _, id := range ids {
		p, err := r.Wait(cmd.Context(), id)
		if err == nil {
			err = c.printEnd(p)
		}
		if err == nil && p.Status != registry.StatusCancelled {
			err = &exitError{code: exitFailed, err: fmt.Errorf("process %s was not cancelled in time: it %s", p.ID, p.Status)}
		}
		worst = max(worst, c.exit(err))
	}
	return worst
}

// whoAmI is who asks, as far as this machine knows.
func whoAmI() string {
	name := "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if host, err := os.Hostname(); err == nil {
		name += "@" + host
	}
	return name
}
