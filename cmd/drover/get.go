package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

func (c *cli) getCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use:   "get ID",
		Short: "Show one process, whole",
		Long: `Show one process, whole. With -w, show it again at each change, until it has ended:
with an empty line in between, or an object a line with -o json.`,
		Args: oneArgument("ID", isID),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			if watch {
				f := follower{cli: c, registry: r}
				return f.process(cmd.Context(), args[0], c.showAgain())
			}
			p, err := r.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.show(p)
		},
	}
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again at each change, until it has ended")
	return cmd
}

func (c *cli) show(p registry.Process) error {
	if c.json() {
		return c.printJSON(p)
	}
	return c.printProcess(p)
}

// showAgain is show, with an empty line between one and the next.
func (c *cli) showAgain() func(registry.Process) error {
	first := true
	return func(p registry.Process) error {
		if !first && !c.json() {
			if _, err := fmt.Fprintln(c.stdout); err != nil {
				return err
			}
		}
		first = false
		return c.show(p)
	}
}

func (c *cli) outputCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "output ID",
		Short: "Print the output of an ended process, and nothing else",
		Long: `Print the output of an ended process, and nothing else: as JSON, or, of a command
in text mode, what it wrote to its standard output and standard error, each to
this command's own.`,
		Args: oneArgument("ID", isID),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := c.get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if !p.Ended() {
				return fmt.Errorf("process %s is %s: it has no output yet (see: drover wait %s)", p.ID, p.Status, p.ID)
			}
			return c.printOutput(p)
		},
	}
}

// get reads one process.
func (c *cli) get(ctx context.Context, id string) (registry.Process, error) {
	r, done, err := c.open(ctx)
	if err != nil {
		return registry.Process{}, err
	}
	defer done()
	return r.Get(ctx, id)
}

func (c *cli) printOutput(p registry.Process) error {
	if p.Output == nil {
		return nil
	}
	if c.json() || p.Kind != kindExec {
		_, err := fmt.Fprintf(c.stdout, "%s\n", p.Output)
		return err
	}
	return c.printStreams(p.Output)
}

// printStreams prints what a command wrote, each stream to its own.
func (c *cli) printStreams(output json.RawMessage) error {
	var o kinds.ExecOutput
	if err := json.Unmarshal(output, &o); err != nil {
		return fmt.Errorf("the output is not that of a command: %w", err)
	}
	_, err1 := io.WriteString(c.stdout, o.Stdout)
	_, err2 := io.WriteString(c.stderr, o.Stderr)
	return errors.Join(err1, err2)
}
