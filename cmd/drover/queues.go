package main

import (
	"context"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/registry"
)

func (c *cli) queuesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "queues",
		Short: "List the queues and how much is in them",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			queues, err := r.Queues(cmd.Context())
			if err != nil {
				return err
			}
			return c.printQueues(queues)
		},
	}
}

func (c *cli) pauseCommand() *cobra.Command {
	return c.queueCommand("pause QUEUE", "Have nothing more claimed from a queue, on any node", `Have nothing more claimed from a queue, on any node, until it is resumed. What runs
goes on. Pausing a paused queue changes nothing.`,
		func(ctx context.Context, r *registry.Registry, queue string) error {
			return r.Pause(ctx, queue, whoAmI())
		})
}

func (c *cli) resumeCommand() *cobra.Command {
	return c.queueCommand("resume QUEUE", "Let nodes claim from a paused queue again", `Let nodes claim from a paused queue again, at once. Resuming one that is not paused
changes nothing.`,
		func(ctx context.Context, r *registry.Registry, queue string) error { return r.Resume(ctx, queue) })
}

func (c *cli) queueCommand(use, short, long string, do func(context.Context, *registry.Registry, string) error) *cobra.Command {
	return &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long,
		Args:  oneArgument("QUEUE", isName),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return c.patiently(cmd.Context(), func(ctx context.Context) error { return do(ctx, r, args[0]) })
		},
	}
}

// queueLine is a queue in JSON, where scripts find every field.
type queueLine struct {
	Name                 string  `json:"name"`
	Pending              int     `json:"pending"`
	Scheduled            int     `json:"scheduled"`
	Running              int     `json:"running"`
	OldestPendingSeconds float64 `json:"oldest_pending_seconds"`
	Paused               bool    `json:"paused"`
}

func (c *cli) printQueues(queues []registry.QueueState) error {
	var rows [][]string
	for _, q := range queues {
		if c.json() {
			if err := c.printJSON(queueLine(q)); err != nil {
				return err
			}
			continue
		}
		rows = append(rows, queueRow(q))
	}
	if c.json() {
		return nil
	}
	return c.printTable([]string{"NAME", "PENDING", "SCHEDULED", "RUNNING", "OLDEST", "PAUSED"}, rows)
}

func queueRow(q registry.QueueState) []string {
	oldest, paused := "-", "no"
	if q.Pending > 0 {
		oldest = time.Duration(q.OldestPendingSeconds * float64(time.Second)).Round(time.Second / 10).String()
	}
	if q.Paused {
		paused = "yes"
	}
	return []string{q.Name, strconv.Itoa(q.Pending), strconv.Itoa(q.Scheduled), strconv.Itoa(q.Running), oldest, paused}
}
