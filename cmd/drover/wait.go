package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) waitCommand() *cobra.Command {
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "wait ID...",
		Short: "Wait until processes have ended",
		Long: `Wait until processes have ended. The exit code is 0 if all completed, 1 if one
ended otherwise, 3 if there is no such process, 6 if --timeout passed; with
several, the highest.`,
		Args: someIDs,
		RunE: func(cmd *cobra.Command, ids []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			ctx := cmd.Context()
			if cmd.Flags().Changed("timeout") {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeoutCause(ctx, timeout, errWaitedLongEnough)
				defer cancel()
			}
			return c.waitAll(ctx, r, ids, c.printEnd)
		},
	}
	cmd.Flags().Var(durationValue{to: &timeout}, "timeout", "give up after this time, with exit code 6")
	return cmd
}

var errWaitedLongEnough = errors.New("--timeout passed")

// waitAll waits for each in turn, tells of each end, and returns the error
// with the highest exit code. Every error is printed, once. All are looked up
// first: that there is no such process is told before the others have ended,
// which may be never.
func (c *cli) waitAll(ctx context.Context, r *registry.Registry, ids []string, tell func(registry.Process) error) error {
	there, worst := c.lookUp(ctx, r, ids)
	for _, p := range there {
		var err error
		if !p.Ended() {
			id := p.ID
			if p, err = r.Wait(ctx, id); errors.Is(err, errWaitedLongEnough) {
				err = &exitError{code: exitTimeout, err: fmt.Errorf("process %s has not ended: --timeout passed", id)}
			}
		}
		if err == nil {
			err = errors.Join(tell(p), endError(p))
		}
		worst = max(worst, c.exit(err))
	}
	if worst == exitDone {
		return nil
	}
	return &exitError{code: worst}
}

// lookUp reads each process, without the time-out of a wait: an etcd that is
// not there from the start is an error, while Wait would wait for it.
func (c *cli) lookUp(ctx context.Context, r *registry.Registry, ids []string) (there []registry.Process, worst int) {
	for _, id := range ids {
		p, err := r.Get(context.WithoutCancel(ctx), id)
		if err == nil {
			there = append(there, p)
		}
		worst = max(worst, c.exit(err))
	}
	return there, worst
}

// waitStarted is waitAll for processes whose ids were printed when they started,
// but in JSON, where there is one object for each: as it ended.
func (c *cli) waitStarted(ctx context.Context, r *registry.Registry, ids []string) error {
	return c.waitAll(ctx, r, ids, func(p registry.Process) error {
		if c.json() {
			return c.printJSON(p)
		}
		return nil
	})
}

// endError is nil for a process that completed.
func endError(p registry.Process) error {
	why := orElse(p.Error, p.OutcomeReason)
	switch p.Status {
	case registry.StatusCompleted:
		return nil
	case registry.StatusCancelled, registry.StatusAbandoned:
		why = p.OutcomeReason // what its handler said when it was cancelled is no news
	default:
	}
	return &exitError{code: exitFailed, err: fmt.Errorf("process %s %s: %s", p.ID, p.Status, orElse(why, "no reason was given"))}
}

// printEnd tells of a process that ended.
func (c *cli) printEnd(p registry.Process) error {
	if c.json() {
		return c.printJSON(p)
	}
	_, err := fmt.Fprintf(c.stdout, "%s %s\n", p.ID, p.Status)
	return err
}
