package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"

	"github.com/spf13/cobra"
	"go.uber.org/zap/zapcore"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor"
)

// The exit codes of run that are not the command's own.
const (
	exitRunFailed   = 125 // drover's own errors
	exitInterrupted = 130 // cancelled
)

func (c *cli) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- CMD ARG...",
		Short: "Run one durable command here, and exit as it does",
		Long: `Run one durable command here, and exit as it does. Its state is kept in an
embedded etcd in --data-dir, or in the etcd of --endpoints. If drover is killed,
run it again with the same --id and it goes on with that process; once it has
ended, the same --id prints its output and runs nothing, unless --retry is given
and it did not complete.

Any number of runs may share a data directory: one of them serves etcd to the
others, and when that one ends another does.

Ctrl-C cancels the process (exit code 130). SIGTERM and SIGHUP hand it back
(143, 129), for the same --id to go on with. 125 is an error of drover's own,
126 a command that can't be executed, 127 one that is not found, and 128+N one
that signal N ended.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args, f) },
	}
	f.add(cmd.Flags())
	// What cobra and the root find wrong comes before RunE, and is 125 as well.
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return c.runError(flagError(cmd, err)) })
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return c.runError(c.global.complete(cmd.Flags())) }
	return cmd
}

func (c *cli) run(cmd *cobra.Command, args []string, f runFlags) error {
	code, err := c.runProcess(cmd, args, f)
	switch {
	case err != nil:
		return c.runError(err)
	case code == exitDone:
		return nil
	}
	return &exitError{code: code}
}

// runError makes exit code 125 of an error of drover's own, whatever it is elsewhere.
func (c *cli) runError(err error) error {
	if err == nil {
		return nil
	}
	_, text := c.judge(err)
	return &exitError{code: exitRunFailed, err: errors.New(text)}
}

func (c *cli) runProcess(cmd *cobra.Command, args []string, f runFlags) (code int, err error) {
	if err := f.check(cmd, args); err != nil {
		return 0, usage(err)
	}
	// Before standard input is read: this process may be executed anew.
	log := c.logger(zapcore.WarnLevel)
	w, err := supervisor.Witness(supervisor.WitnessOptions{Logger: log})
	if err != nil {
		return 0, err
	}
	defer closeWitness(w, log)
	spec, err := c.runSpec(cmd, args, f)
	if err != nil {
		return 0, usage(err)
	}
	asked, unasked := signals()
	defer unasked()
	ctx := cmd.Context()
	h, err := c.openRun(ctx, asked)
	if s, ok := errors.AsType[*signalled](err); ok {
		return exitOfSignal(s.signal), nil // nothing was begun
	}
	if err != nil {
		return 0, err
	}
	defer h.close()
	h.witness = w
	ended, err := startRun(ctx, h.registry, spec, f.retry)
	if err != nil {
		return 0, err
	}
	if ended != nil {
		return c.repeat(*ended)
	}
	config := supervisor.Config{
		Node: runNode(spec.ID), Queues: []string{spec.Queue}, MaxRunning: 1, Version: version,
	}
	if err := h.startNode(ctx, config, []string{kindExec}, c.runExec()); err != nil {
		return 0, err
	}
	p, code, err := c.follow(ctx, h, spec.ID, asked)
	switch {
	case err != nil || p == nil:
		return code, err
	case ranLastOn(*p, config.Node) && !c.json():
		return c.runExit(*p) // what it printed was shown as it came
	}
	return c.repeat(*p)
}

// openRun is openShared, which may wait for another process and so ends with a
// signal; the error then is a [*signalled].
func (c *cli) openRun(ctx context.Context, asked <-chan os.Signal) (*host, error) {
	opening, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	opened, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case s := <-asked:
			cancel(&signalled{s})
		case <-opened:
		}
	}()
	h, err := c.openShared(opening, c.logger(zapcore.WarnLevel))
	close(opened)
	<-watched
	s, ok := errors.AsType[*signalled](context.Cause(opening))
	switch {
	case !ok:
		return h, err
	case err == nil:
		h.close()
	}
	return nil, s
}

// startRun stores the process, or finds it. ended is not nil if there is nothing
// left to run.
func startRun(ctx context.Context, r *registry.Registry, spec registry.Spec, retry bool) (ended *registry.Process, err error) {
	started, err := r.Start(ctx, spec)
	if err != nil || !started.Existing {
		return nil, err
	}
	p, err := r.Get(ctx, spec.ID)
	switch {
	case err != nil:
		return nil, err
	case !p.Ended():
		return nil, nil
	case !retry || p.Status == registry.StatusCompleted:
		return &p, nil
	}
	if _, err := r.Reopen(ctx, spec.ID); err != nil && !errors.Is(err, registry.ErrNotEnded) { // another run was first
		return nil, err
	}
	return nil, nil
}

// runExec makes the command one of this shell: its environment, its directory
// and, as it comes, its output.
func (c *cli) runExec() kinds.ExecOptions {
	o := kinds.ExecOptions{Env: os.Environ(), Stdout: c.stdout, Stderr: c.stderr}
	if c.json() {
		o.Stdout = c.stderr // standard output is for the process, as it ended
	}
	return o
}

// runHash makes a queue that no other run serves.
func runHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// runNode names the node of one run: two with the same id at the same time serve
// the same queue, and each has to know which attempts were its own.
func runNode(id string) string { return fmt.Sprintf("run-%s-%08x", runHash(id)[:12], rand.Uint32()) }

func ranLastOn(p registry.Process, node string) bool {
	return len(p.History) > 0 && p.History[len(p.History)-1].Node == node
}

// follow waits for the end of the process and does what signals ask for. No
// process and no error is a run that a signal ended before: it exits with code.
func (c *cli) follow(ctx context.Context, h *host, id string, asked <-chan os.Signal) (ended *registry.Process, code int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	end := make(chan waited, 1)
	go func() {
		p, err := h.registry.Wait(ctx, id)
		end <- waited{p, err}
	}()
	interrupted := false
	for {
		select {
		case w := <-end:
			return &w.process, 0, w.err
		case s := <-asked:
			if s != os.Interrupt || interrupted {
				// Handed back at once, or, at a second Ctrl-C, given up: the
				// command has no more than its grace to end.
				return nil, exitOfSignal(s), h.stopNode(asked, 0)
			}
			interrupted = true
			if _, err := h.registry.Cancel(ctx, id, registry.Request{By: whoAmI(), Reason: "interrupted"}); err != nil && !errors.Is(err, registry.ErrEnded) {
				return nil, 0, err
			}
		case <-h.node.Done():
			return nil, 0, fmt.Errorf("the node ended: %w", h.node.Err())
		case err := <-h.serverErr():
			return nil, 0, fmt.Errorf("the embedded etcd ended: %w", err)
		}
	}
}

type waited struct {
	process registry.Process
	err     error
}

// repeat prints what a process left that ended before, or in JSON the process,
// and exits as it did.
func (c *cli) repeat(p registry.Process) (code int, err error) {
	if c.json() {
		if err := c.printJSON(p); err != nil {
			return 0, err
		}
	} else if p.Output != nil {
		if err := c.printStreams(p.Output); err != nil {
			return 0, err
		}
	}
	return c.runExit(p)
}

// runExit is the exit code of the command that the process was.
func (c *cli) runExit(p registry.Process) (code int, err error) {
	if p.Status == registry.StatusCancelled {
		return exitInterrupted, nil
	}
	var o kinds.ExecOutput
	if p.Output != nil {
		if err := json.Unmarshal(p.Output, &o); err != nil {
			return 0, fmt.Errorf("the output of process %s is not that of a command: %w", p.ID, err)
		}
	}
	if p.Status == registry.StatusCompleted {
		return o.ExitCode, nil
	}
	if o.ExitCode == exitDone {
		return 0, endError(p) // it failed for another reason than its command's end
	}
	if o.Stdout == "" && o.Stderr == "" && o.ExitCode >= exitRunFailed {
		c.hint("drover: %s", oneLine(p.Error)) // a command that did not start says nothing itself
	}
	return o.ExitCode, nil
}
