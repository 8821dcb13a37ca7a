package kinds

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// ExecOptions are for Exec.
type ExecOptions struct {
	// Witness watches the commands. While there is none, attempts are put off: a node had better claim none, see
	// runner.WhileReady.
	Witness *supervisor.WitnessLink

	// Env is what every command gets, and Dir where those run whose input names no directory, or a relative one. "": the
	// node's. See ServeEnv.
	Env []string
	Dir string

	// Stdout and Stderr get the streams of every command as they come; see Command. Nil: nobody does.
	Stdout, Stderr io.Writer

	// LogDir is a directory, as an absolute path, that gets the whole streams of every attempt, in files that nobody
	// deletes; see LogName. "": none are kept. A disk that is full ends the log, and not the command.
	LogDir string

	// Logger hears of that. Nil: nobody does.
	Logger *zap.Logger
}

// Exec is the handler of exec, whose input is an ExecInput and whose output an ExecOutput.
//
// An input that makes no sense, and a command that can't be started, fail the process. A command that does not succeed
// fails the attempt; the output is kept if that is the last one. When the claim is lost there is no grace.
//
// While the command runs its progress is an ExecProgress.
func Exec(o ExecOptions) runner.Handler {
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	return runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		in, err := ParseExecInput(a.Input())
		if err != nil {
			return nil, runner.Fail(err)
		}
		return verdict(o.run(ctx, in, a))
	})
}

func (o ExecOptions) run(ctx context.Context, in ExecInput, a *runner.Attempt) (ExecOutput, error) {
	command := o.command(in, a)
	logs := o.openLog(a)
	r := report(a, logs)
	stdout, stderr := tee{o.Stdout, &r.stdout}, tee{o.Stderr, &r.stderr}
	if logs != nil {
		defer logs.close()
		stdout, stderr = append(stdout, logs.writer(logs.stdout)), append(stderr, logs.writer(logs.stderr))
	}
	command.Stdout, command.Stderr = stdout, stderr
	output, err := command.Run(ctx)
	r.end(err != nil)
	return output, err
}

// openLog returns nil if no log is to be kept, or none can be.
func (o ExecOptions) openLog(a *runner.Attempt) *execLog {
	if o.LogDir == "" {
		return nil
	}
	logs, err := openLog(o.LogDir, a, o.Logger)
	if err != nil {
		o.Logger.Error("the log of a command can't be kept", zap.String("process", a.ID()), zap.Int("attempt", a.Number()), zap.Error(err))
		return nil
	}
	a.SetLog(logs.stdout.Name())
	return logs
}

// tee writes to each of its writers that did not fail so far, and does not fail itself.
type tee []io.Writer

func (t tee) Write(p []byte) (int, error) {
	for i, w := range t {
		if w == nil {
			continue
		}
		if _, err := w.Write(p); err != nil {
			t[i] = nil
		}
	}
	return len(p), nil
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
		Hard:    func(cause error) bool { return errors.Is(cause, runner.ErrLeaseLost) },
		// One that was asked to end, or was too slow, and exits with 0 in spite of it, is done. Of one whose node stops that
		// can't be told from one which only obeys, and it is run again.
		Undone: func(cause error) bool {
			return errors.Is(cause, runner.ErrShutdown) || errors.Is(cause, runner.ErrLeaseLost)
		},
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
	if errors.Is(err, supervisor.ErrWitnessGone) || errors.Is(err, supervisor.ErrWitnessSilent) {
		return nil, runner.Snooze(witnessPause) // it has not run, and that is no fault of the command's
	}
	return nil, err
}

// witnessPause is between attempts while there is no witness.
const witnessPause = time.Second
