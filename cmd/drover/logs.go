package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

type logsFlags struct {
	follow  bool
	attempt int // 0: whichever is the last
}

func (c *cli) logsCommand() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:   "logs ID",
		Short: "Print what a command writes, also while it runs",
		Long: `Print what a command writes, its standard output to this one's and its standard
error likewise. Of one that runs that is the live tail: the last 4 KiB of each, as
of a second ago or less. Of one that has ended it is what the process keeps, as
with drover output.

With -f, go on until the process has ended, through all its attempts. What the
tail was too short for is said on standard error. On the machine that runs the
command, under drover serve --log-dir, -f and --attempt read the whole streams
from there. With -o json, print {"attempt":N,"stream":"stdout","data":"..."} a
line.`,
		Args: oneArgument("ID", isID),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, done, err := c.open(cmd.Context())
			if err != nil {
				return err
			}
			defer done()
			return c.logs(cmd.Context(), r, args[0], f)
		},
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until the process has ended")
	cmd.Flags().Var(atLeast(&f.attempt, 1), "attempt", "of this attempt (default the last)")
	return cmd
}

func (c *cli) logs(ctx context.Context, r *registry.Registry, id string, f logsFlags) error {
	p, err := r.Get(ctx, id)
	if err != nil {
		return err
	}
	switch {
	case p.Kind != kindExec:
		return fmt.Errorf("process %s is of kind %s, and only exec has logs (see: drover get %s)", p.ID, p.Kind, shellQuote(p.ID))
	case f.attempt > p.Attempt:
		return fmt.Errorf("process %s has made no attempt %d: its last is %d", p.ID, f.attempt, p.Attempt)
	}
	l := &logPrinter{cli: c}
	defer l.close()
	switch {
	case f.follow && !attemptEnded(p, f.attempt):
		return c.followLogs(ctx, r, p, f.attempt, l)
	case f.attempt > 0:
		return l.attemptOf(p, f.attempt)
	default:
		return l.latest(p)
	}
}

// progressOf is what a process says of its command, nil if it says nothing, or nothing that can be read.
func progressOf(p registry.Process) *kinds.ExecProgress {
	var progress kinds.ExecProgress
	if len(p.Progress) == 0 || json.Unmarshal(p.Progress, &progress) != nil {
		return nil
	}
	return &progress
}

// outputOf is what a process has kept of its command, nil if there is nothing.
func outputOf(p registry.Process) (*kinds.ExecOutput, error) {
	if p.Output == nil {
		return nil, nil
	}
	var o kinds.ExecOutput
	if err := json.Unmarshal(p.Output, &o); err != nil {
		return nil, fmt.Errorf("the output is not that of a command: %w", err)
	}
	return &o, nil
}

func pastAttempt(p registry.Process, n int) (past registry.PastAttempt, ok bool) {
	for _, past := range p.History {
		if past.Attempt == n {
			return past, true
		}
	}
	return registry.PastAttempt{}, false
}

// attemptEnded says whether nothing more will come of an attempt, or, of 0, of the process.
func attemptEnded(p registry.Process, n int) bool {
	if p.Ended() || n == 0 {
		return p.Ended()
	}
	_, past := pastAttempt(p, n)
	return past || n < p.Attempt
}

// latest prints what the row has of the last attempt.
func (l *logPrinter) latest(p registry.Process) error {
	output, err := outputOf(p)
	progress := progressOf(p)
	switch {
	case err != nil:
		return err
	case output != nil:
		l.begin(p, p.Attempt)
		return l.rest(output)
	case progress != nil:
		if progress.Attempt != p.Attempt {
			l.cli.hint("drover: attempt %d has written nothing yet; this is of attempt %d", p.Attempt, progress.Attempt)
		}
		l.begin(p, progress.Attempt)
		return l.tail(*progress)
	case p.Ended():
		l.cli.hint("drover: process %s is %s, and its command left no output", p.ID, p.Status)
	case p.Claim == nil:
		l.cli.hint("drover: process %s is %s: there is nothing to see of it yet", p.ID, p.Status)
	}
	return nil
}

// attemptOf prints the most that can be had of one attempt: its log if that is here, or else what the row has.
func (l *logPrinter) attemptOf(p registry.Process, n int) error {
	l.begin(p, n)
	past, isPast := pastAttempt(p, n)
	place := placeOf(p, n)
	if place != nil {
		here, err := l.open(*place)
		if err != nil {
			return err
		}
		if here {
			return l.drain(true)
		}
	}
	if n == p.Attempt && p.Ended() {
		output, err := outputOf(p)
		if err != nil || output != nil {
			return errors.Join(err, l.rest(output))
		}
	}
	progress := progressOf(p)
	switch {
	case progress != nil && progress.Attempt == n:
		return l.tail(*progress)
	case place != nil:
		return fmt.Errorf("the log of attempt %d is on node %s, in %s and %s: there is none on this machine", n, place.Node, place.Stdout, place.Stderr)
	case isPast:
		return fmt.Errorf("there is no log of attempt %d: node %s kept none (see: drover serve --log-dir). It ended with: %s",
			n, past.Node, orElse(oneLine(past.Error), "success"))
	case n == p.Attempt:
		return nil // it has said nothing so far
	default:
		return fmt.Errorf("there is no log of attempt %d: the process remembers its last %d attempts only", n, len(p.History))
	}
}

// placeOf says where the whole streams of an attempt are, nil if nowhere.
func placeOf(p registry.Process, n int) *kinds.ExecLog {
	if progress := progressOf(p); progress != nil && progress.Attempt == n {
		return progress.Log
	}
	if past, ok := pastAttempt(p, n); ok && past.Log != "" {
		return &kinds.ExecLog{Node: past.Node, Stdout: past.Log, Stderr: kinds.StderrLog(past.Log)}
	}
	return nil
}

// open begins to read the log of an attempt, if it is on this machine. No other machine has a file of that name: the
// number of the attempt and its fence are in it.
func (l *logPrinter) open(place kinds.ExecLog) (here bool, err error) {
	stdout, err := os.Open(place.Stdout)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	stderr, err := os.Open(place.Stderr)
	if err != nil {
		stdout.Close()
		return false, err
	}
	l.stdout.file, l.stderr.file = stdout, stderr
	return true, nil
}
