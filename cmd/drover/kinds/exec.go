package kinds

import (
	"context"
	"errors"
	"io"
	"strconv"

	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// ExecOptions are for Exec.
type ExecOptions struct {
	// Witness watches the commands. While it is gone every attempt fails, to be retried.
	Witness *supervisor.Witness

	// Env is what every command gets, and Dir where those run whose input names no directory, or a relative one. "": the
	// node's. See ServeEnv.
	Env []string
	Dir string

	// Stdout and Stderr get the streams of every command as they come; see Command. Nil: nobody does.
	Stdout, Stderr io.Writer
}

// Exec is the handler of exec, whose input is an ExecInput and whose output an ExecOutput.
//
// An input that makes no sense, and a command that can't be started, fail the process. A command that does not succeed
// fails the attempt; the output is kept if that is the last one. When the claim is lost there is no grace.
func Exec(o ExecOptions) runner.Handler {
	return runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		in, err := ParseExecInput(a.Input())
		if err != nil {
			return nil, runner.Fail(err)
		}
		output, err := o.command(in, a).Run(ctx)
		return verdict(output, err)
	})
}

func (o ExecOptions) command(in ExecInput, a *runner.Attempt) *Command {
	dir, pwd := workingDir(o.Dir, in.Dir)
	env := mergeEnv(o.Env, pwd, in.Env, map[string]string{
		"DROVER_PROCESS_ID": a.ID(),
		"DROVER_ATTEMPT":    strconv.Itoa(a.Number()),
		"DROVER_FENCE":      strconv.FormatInt(a.Fence(), 10),
		"DROVER_NODE":       a.Node(),
	})
	return &Command{
		Witness: o.Witness,
		Session: a.Session(),
		Argv:    in.Argv,
		Env:     env,
		Dir:     dir,
		Stdin:   in.Stdin,
		Stdout:  o.Stdout,
		Stderr:  o.Stderr,
		Hard:    func(cause error) bool { return errors.Is(cause, runner.ErrLeaseLost) },
	}
}

// verdict tells the runner what became of the command.
func verdict(output ExecOutput, err error) (any, error) {
	if err == nil {
		return output.Encode(), nil
	}
	if _, never := errors.AsType[*StartError](err); never {
		return nil, runner.WithOutput(runner.Fail(err), output.Encode())
	}
	if _, ran := errors.AsType[*ExitError](err); ran {
		return nil, runner.WithOutput(err, output.Encode())
	}
	return nil, err
}
