package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/google/uuid"
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

type runFlags struct {
	id          string
	maxAttempts int
	backoff     time.Duration
	command     commandFlags
}

func (c *cli) runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run [flags] -- CMD ARG...",
		Short: "Run one durable command here, and exit as it does",
		Long: `Run one durable command here, and exit as it does. Its state is kept in an
embedded etcd in --data-dir, or in the etcd of --endpoints. If drover is killed,
run it again with the same --id and it goes on with that process; once it has
ended, the same --id prints its output and runs nothing.

Ctrl-C cancels the process (exit code 130). SIGTERM and SIGHUP hand it back
(143, 129), for the same --id to go on with. 125 is an error of drover's own,
126 a command that can't be executed, 127 one that is not found, and 128+N one
that signal N ended.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return c.run(cmd, args, f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.id, "id", "", "id of the process (default a new UUID)")
	flags.IntVar(&f.maxAttempts, "max-attempts", 1, "errors after which it has failed")
	flags.DurationVar(&f.backoff, "backoff", time.Second, "delay before the first retry, doubled for each error")
	f.command.add(flags)
	// What cobra and the root find wrong comes before RunE, and is 125 as well.
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return c.runError(usage(err)) })
	cmd.PersistentPreRunE = func(*cobra.Command, []string) error { return c.runError(c.global.check()) }
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
	spec, err := c.runSpec(cmd, args, f)
	if err != nil {
		return 0, usage(err)
	}
	asked, unasked := signals()
	defer unasked()
	ctx := cmd.Context()
	h, err := c.openHost(ctx, "", c.logger(zapcore.WarnLevel))
	if err != nil {
		return 0, err
	}
	defer h.close()
	started, err := h.registry.Start(ctx, spec)
	if err != nil {
		return 0, err
	}
	if started.Existing {
		p, err := h.registry.Get(ctx, spec.ID)
		if err != nil {
			return 0, err
		}
		if p.Ended() {
			return c.repeat(p)
		}
	}
	config := supervisor.Config{
		Node: "run-" + runHash(spec.ID)[:12], Queues: []string{spec.Queue}, MaxRunning: 1, Version: version,
	}
	if err := h.startNode(ctx, config, []string{kindExec}, c.runExec()); err != nil {
		return 0, err
	}
	return c.follow(ctx, h, spec.ID, asked)
}

// runExec makes the command one of this shell: its environment, its directory
// and, as it comes, its output.
func (c *cli) runExec() kinds.ExecOptions {
	return kinds.ExecOptions{Env: os.Environ(), Stdout: c.stdout, Stderr: c.stderr}
}

func (c *cli) runSpec(cmd *cobra.Command, args []string, f runFlags) (registry.Spec, error) {
	words, argv := splitAtDash(cmd, args)
	if len(words) > 0 {
		return registry.Spec{}, fmt.Errorf("%q stands before --, which is to stand before the command", words[0])
	}
	switch {
	case cmd.Flags().Changed("id") && f.id == "":
		return registry.Spec{}, errors.New(`--id "": an id is not empty`)
	case f.maxAttempts < 1:
		return registry.Spec{}, fmt.Errorf("--max-attempts %d: it must be at least 1", f.maxAttempts)
	case f.backoff <= 0:
		return registry.Spec{}, fmt.Errorf("--backoff %s: it must be positive", f.backoff)
	}
	input, err := c.commandInput(f.command, argv)
	if err != nil {
		return registry.Spec{}, err
	}
	if f.id == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return registry.Spec{}, err
		}
		f.id = id.String()
	}
	spec := registry.Spec{
		ID: f.id, Kind: kindExec, Queue: "run." + runHash(f.id), Disposition: registry.Rerunnable,
		MaxAttempts: f.maxAttempts, Backoff: registry.Duration(f.backoff), Input: input,
	}
	return spec, spec.Validate()
}

// runHash makes a queue that no other run serves.
func runHash(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:16])
}

// follow waits for the end of the process and does what signals ask for.
func (c *cli) follow(ctx context.Context, h *host, id string, asked <-chan os.Signal) (code int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan waited, 1)
	go func() {
		p, err := h.registry.Wait(ctx, id)
		ended <- waited{p, err}
	}()
	interrupted := false
	for {
		select {
		case w := <-ended:
			if w.err != nil {
				return 0, w.err
			}
			return c.runExit(w.process)
		case s := <-asked:
			if s != os.Interrupt || interrupted {
				// Handed back at once, or, at a second Ctrl-C, given up: the
				// command has no more than its grace to end.
				return exitOfSignal(s), h.stopNode(asked, 0)
			}
			interrupted = true
			if _, err := h.registry.Cancel(ctx, id, registry.Request{By: whoAmI(), Reason: "interrupted"}); err != nil && !errors.Is(err, registry.ErrEnded) {
				return 0, err
			}
		case <-h.node.Done():
			return 0, fmt.Errorf("the node ended: %w", h.node.Err())
		case err := <-h.serverErr():
			return 0, fmt.Errorf("the embedded etcd ended: %w", err)
		}
	}
}

type waited struct {
	process registry.Process
	err     error
}

// repeat prints what a process left that ended before, and exits as it did.
func (c *cli) repeat(p registry.Process) (code int, err error) {
	if p.Output != nil {
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
