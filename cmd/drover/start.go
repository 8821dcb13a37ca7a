package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/drover-run/drover/cmd/drover/kinds"
	"github.com/drover-run/drover/registry"
)

type startFlags struct {
	id, input, queue string
	priority         int
	delay            time.Duration
	at               time.Time
	disposition      string
	policy           policyFlags
	labels           []string
	command          commandFlags
	batch            string
	wait             bool
}

// commandFlags are those of a command, for start exec and for run.
type commandFlags struct {
	env   []string
	dir   string
	stdin string
}

func (f *commandFlags) add(flags *pflag.FlagSet) {
	flags.Var(arrayValue{&f.env, isVariable}, "env", "K=V for the command, or K to pass this shell's value on; may be repeated")
	flags.Var(textValue{&f.dir, notEmpty}, "dir", "directory to run the command in")
	flags.Var(textValue{&f.stdin, isSource}, "stdin", "the command's standard input: @FILE, or - for this one's")
}

func (c *cli) startCommand() *cobra.Command {
	var f startFlags
	cmd := &cobra.Command{
		Use:   "start KIND [flags] | start exec [flags] -- CMD ARG... | start --batch FILE",
		Short: "Start processes and print their ids",
		Long: `Start a process and print its id. A second start with the same --id and the same
spec is the same process, also after it ended; with another spec it is a conflict.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return c.start(cmd, args, f) },
	}
	flags := cmd.Flags()
	f.queue, f.priority = "default", 1
	flags.Var(textValue{&f.id, isID}, "id", "id of the process (default a new UUID)")
	flags.StringVar(&f.input, "input", "", "input as JSON, @FILE, or - for standard input")
	flags.Var(textValue{&f.queue, isName}, "queue", "queue to wait in")
	flags.Var(numberValue[int]{&f.priority, 0, 3}, "priority", "0 (first) to 3")
	flags.Var(durationValue{to: &f.delay}, "delay", "run it so much later")
	flags.Var(timeValue{&f.at}, "at", "run it at this time, such as 2026-01-31T15:04:05Z")
	flags.Var(textValue{&f.disposition, oneOf(string(registry.Rerunnable), string(registry.OwnerBound), string(registry.External))}, "disposition",
		"what recovery may do: rerunnable (the default for drover's own kinds), owner-bound (never run it twice), or external (somebody else does it)")
	f.policy.add(flags)
	flags.VarP(arrayValue{&f.labels, isLabel}, "label", "l", "K=V to find it by; may be repeated")
	f.command.add(flags)
	flags.Var(textValue{&f.batch, notEmpty}, "batch", "start one spec as JSON a line from this file, - for standard input")
	flags.BoolVar(&f.wait, "wait", false, "wait until it has ended")
	cmd.ValidArgsFunction = completeKind
	offer(cmd, "disposition", completeOneOf(string(registry.Rerunnable), string(registry.OwnerBound), string(registry.External)))
	return cmd
}

func (c *cli) start(cmd *cobra.Command, args []string, f startFlags) error {
	specs, err := c.specs(cmd, args, f)
	if err != nil {
		return err
	}
	r, done, err := c.open(cmd.Context())
	if err != nil {
		return err
	}
	defer done()
	ids, err := c.startAll(cmd.Context(), r, specs, f.wait && c.json())
	if !f.wait {
		return err
	}
	// What could not be started does not keep from waiting for the others.
	worst := c.exit(err)
	err = c.waitStarted(cmd.Context(), r, ids)
	if worst = max(worst, c.exit(err)); worst == exitDone {
		return nil
	}
	return &exitError{code: worst}
}

// specs makes what is to be started out of the arguments, all of it before
// anything is written.
func (c *cli) specs(cmd *cobra.Command, args []string, f startFlags) ([]batchSpec, error) {
	if f.batch != "" {
		if err := onlyFlags(cmd, "batch", "wait"); err != nil || len(args) > 0 {
			return nil, usage(errors.Join(err, ifAny(args, "--batch takes the kinds from its lines")))
		}
		return c.batch(f.batch)
	}
	words, command := splitAtDash(cmd, args)
	if len(words) != 1 {
		return nil, usage(errors.New("name one kind, such as exec: drover start exec -- COMMAND"))
	}
	if err := eachArgument("KIND", isName)(cmd, words); err != nil {
		return nil, err
	}
	spec, err := f.spec(cmd.Flags(), words[0])
	if err != nil {
		return nil, usage(err)
	}
	if spec.Input, err = c.startInput(cmd, f, spec.Kind, command); err != nil {
		return nil, usage(err)
	}
	spec, err = complete(spec)
	if err != nil {
		return nil, usage(err)
	}
	return []batchSpec{{Spec: spec}}, nil
}

// spec is what the flags say, but for the input.
func (f *startFlags) spec(flags *pflag.FlagSet, kind string) (registry.Spec, error) {
	labels, errLabels := parseLabels(f.labels)
	if err := errors.Join(errLabels, f.checkDue(flags)); err != nil {
		return registry.Spec{}, err
	}
	spec := registry.Spec{
		ID: f.id, Kind: kind, Queue: f.queue, Priority: &f.priority, Disposition: registry.Disposition(f.disposition),
		Delay: registry.Duration(f.delay), DueAt: f.at, Labels: labels,
	}
	f.policy.apply(&spec)
	return spec, nil
}

// checkDue is about the flags that say when it is to be run.
func (f *startFlags) checkDue(flags *pflag.FlagSet) error {
	delayed, timed := flags.Changed("delay"), flags.Changed("at")
	switch {
	case delayed && timed:
		return errors.New("--delay does not go with --at: give one of them")
	case (delayed || timed) && f.disposition == string(registry.External):
		return errors.New("--delay and --at do not go with --disposition external: no node runs it, so there is nothing to delay")
	}
	return nil
}

// complete fills in what drover's own kinds need no words for, and checks all.
func complete(s registry.Spec) (registry.Spec, error) {
	if s.Disposition == "" && isOwnKind(s.Kind) {
		s.Disposition = registry.Rerunnable
	}
	if s.Disposition == "" {
		return s, fmt.Errorf("kind %s is not one of drover's own (%s): say what recovery may do with it, with --disposition, or \"disposition\" in a batch",
			s.Kind, strings.Join(ownKinds, ", "))
	}
	if err := s.Validate(); err != nil {
		return s, err
	}
	return s, kinds.CheckInput(s.Kind, s.Input)
}

func (c *cli) startInput(cmd *cobra.Command, f startFlags, kind string, command []string) (json.RawMessage, error) {
	isCommand := kind == kindExec && !cmd.Flags().Changed("input")
	switch {
	case isCommand:
		return c.commandInput(f.command, command)
	case len(command) > 0:
		return nil, errors.New("a command after -- goes with the kind exec, and not with --input")
	case cmd.Flags().Changed("env") || cmd.Flags().Changed("dir") || cmd.Flags().Changed("stdin"):
		return nil, errors.New("--env, --dir and --stdin go with a command after --")
	case !cmd.Flags().Changed("input"):
		return nil, nil
	}
	raw, err := c.argument(f.input)
	if err == nil && !json.Valid(raw) {
		err = errors.New("it is not JSON")
	}
	if err != nil {
		return nil, fmt.Errorf("--input: %w", err)
	}
	return raw, nil
}

// argument reads a value that may be @FILE or - for standard input.
func (c *cli) argument(v string) ([]byte, error) {
	switch {
	case v == "-":
		return io.ReadAll(c.stdin)
	case strings.HasPrefix(v, "@"):
		return os.ReadFile(v[1:])
	default:
		return []byte(v), nil
	}
}

// splitAtDash parts what stands before -- from what stands after it.
func splitAtDash(cmd *cobra.Command, args []string) (words, command []string) {
	if at := cmd.ArgsLenAtDash(); at >= 0 {
		return args[:at], args[at:]
	}
	return args, nil
}

// onlyFlags is an error if another flag of the command itself was given.
func onlyFlags(cmd *cobra.Command, allowed ...string) error {
	var others []string
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Changed && !slices.Contains(allowed, f.Name) {
			others = append(others, "--"+f.Name)
		}
	})
	return ifAny(others, "it does not go with --"+allowed[0])
}

func ifAny(what []string, why string) error {
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", strings.Join(what, " "), why)
}
