package kinds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/drover-run/drover/supervisor"
)

// DefaultGrace is how long a command that was told to stop may take.
const DefaultGrace = 5 * time.Second

// Command is a command to run behind a node's witness.
type Command struct {
	Witness *supervisor.WitnessLink
	Session string   // under whose deadline it runs; "": it ends with this process alone
	Argv    []string // the first is looked up in the PATH of Env, unless it holds a slash
	Env     []string // all of it
	Dir     string   // "": this process's
	Stdin   string   // "": /dev/null

	// Stdout and Stderr get the command's streams as they come, every byte. A writer that blocks holds the command up,
	// and the end of Run too. One that fails gets no more. They are called by a goroutine each.
	Stdout, Stderr io.Writer

	// Grace is how long the group may take to end when Run's context has ended. Zero: DefaultGrace.
	Grace time.Duration

	// Hard says which causes of that leave no time: the group is killed at once. Nil: none.
	Hard func(cause error) bool

	// Undone says for which causes a command that was told to stop has not done what it was for, even if it then exits
	// with 0. Nil: for all.
	Undone func(cause error) bool

	// MaxOutput is how many bytes the encoded output may have. Zero: DefaultMaxOutput.
	MaxOutput int
}

// Run runs the command to its end and that of its process group. What the leader leaves behind in the group is killed.
//
// A command that does not succeed is an *ExitError, with which the output is valid as well. When ctx ends the whole
// group gets SIGTERM and, after the grace, SIGKILL. The error then is an *ExitError too, and wraps the cause. With exit
// status 0 it is none if the command has done what it was for all the same; see Undone.
//
// A command that did not run is a *StartError if it never can, and else what WitnessLink.Start says, or the system for want
// of something.
func (c *Command) Run(ctx context.Context) (ExecOutput, error) {
	path, err := lookup(c.Argv[0], c.Env, c.Dir)
	if err != nil {
		e := lookupError(c.Argv[0], err)
		return ExecOutput{ExitCode: e.ExitCode}, e
	}
	streams, err := openStreams(c)
	if err != nil {
		return ExecOutput{}, fmt.Errorf("pipes for a command: %w", err)
	}
	group, err := c.Witness.Start(ctx, supervisor.GroupCommand{
		Session: c.Session, Path: path, Args: c.Argv, Env: c.Env, Dir: c.Dir,
		Stdin: streams.childIn, Stdout: streams.childOut, Stderr: streams.childErr,
	})
	streams.closeChildEnds()
	if err != nil {
		streams.finish()
		return notStarted(startError(err, c.Dir))
	}
	stopped := c.await(ctx, group)
	state := group.Wait()
	streams.finish()
	return c.outcome(ctx, state, streams, stopped)
}

func notStarted(err error) (ExecOutput, error) {
	if e, ok := errors.AsType[*StartError](err); ok {
		return ExecOutput{ExitCode: e.ExitCode}, err
	}
	return ExecOutput{}, err
}

// await returns when the group has ended or was told to, and which of them it was.
func (c *Command) await(ctx context.Context, group *supervisor.Group) (stopped bool) {
	select {
	case <-group.Done():
		return false
	case <-ctx.Done():
	}
	grace := c.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	if c.Hard != nil && c.Hard(context.Cause(ctx)) {
		grace = 0
	}
	return group.Stop(grace)
}

func (c *Command) outcome(ctx context.Context, state *os.ProcessState, s *streams, stopped bool) (ExecOutput, error) {
	if state == nil {
		return ExecOutput{}, errors.New("how the command ended is not known: something else in this process waited for it")
	}
	output := fitOutput(exitCode(state), &s.stdout.tail, &s.stderr.tail, c.maxOutput())
	switch {
	case stopped && !(state.Success() && c.Undone != nil && !c.Undone(context.Cause(ctx))):
		return output, fmt.Errorf("%w: %w", context.Cause(ctx), exitError(state, &s.stderr.tail))
	case !state.Success():
		return output, exitError(state, &s.stderr.tail)
	}
	return output, nil
}

func (c *Command) maxOutput() int {
	if c.MaxOutput == 0 {
		return DefaultMaxOutput
	}
	return c.MaxOutput
}
