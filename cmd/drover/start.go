package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
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
	disposition      string
	maxAttempts      int
	backoff          time.Duration
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
	flags.StringArrayVar(&f.env, "env", nil, "K=V for the command, or K to pass this shell's value on; may be repeated")
	flags.StringVar(&f.dir, "dir", "", "directory to run the command in")
	flags.StringVar(&f.stdin, "stdin", "", "the command's standard input: @FILE, or - for this one's")
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
	flags.StringVar(&f.id, "id", "", "id of the process (default a new UUID)")
	flags.StringVar(&f.input, "input", "", "input as JSON, @FILE, or - for standard input")
	flags.StringVar(&f.queue, "queue", "default", "queue to wait in")
	flags.IntVar(&f.priority, "priority", 1, "0 (first) to 3")
	flags.StringVar(&f.disposition, "disposition", "", "what recovery may do: rerunnable (the default for drover's own kinds)")
	flags.IntVar(&f.maxAttempts, "max-attempts", 10, "errors after which it has failed")
	flags.DurationVar(&f.backoff, "backoff", time.Second, "delay before the first retry, doubled for each error")
	f.command.add(flags)
	flags.StringVar(&f.batch, "batch", "", "start one spec as JSON a line from this file, - for standard input")
	flags.BoolVar(&f.wait, "wait", false, "wait until it has ended")
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
	if err != nil || !f.wait {
		return err
	}
	return c.waitAll(cmd.Context(), r, ids, func(p registry.Process) error {
		if c.json() {
			return c.printJSON(p)
		}
		return nil // its id was printed when it started
	})
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
	if cmd.Flags().Changed("id") && f.id == "" {
		return nil, usage(errors.New(`--id "": an id is not empty`))
	}
	spec := registry.Spec{
		ID: f.id, Kind: words[0], Queue: f.queue, Priority: &f.priority,
		Disposition: registry.Disposition(f.disposition),
		MaxAttempts: f.maxAttempts, Backoff: registry.Duration(f.backoff),
	}
	if f.maxAttempts < 1 {
		return nil, usage(fmt.Errorf("--max-attempts %d: it must be at least 1", f.maxAttempts))
	}
	if f.backoff <= 0 {
		return nil, usage(fmt.Errorf("--backoff %s: it must be positive", f.backoff))
	}
	var err error
	if spec.Input, err = c.startInput(cmd, f, spec.Kind, command); err != nil {
		return nil, usage(err)
	}
	spec, err = complete(spec)
	if err != nil {
		return nil, usage(err)
	}
	return []batchSpec{{Spec: spec}}, nil
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

// startAll starts what stands in specs and prints an id a line, in order.
func (c *cli) startAll(ctx context.Context, r *registry.Registry, specs []batchSpec, quiet bool) ([]string, error) {
	ids := make([]string, 0, len(specs))
	for i, spec := range specs {
		started, err := r.Start(ctx, spec.Spec)
		if err != nil && spec.line > 0 {
			err = fmt.Errorf("line %d of the batch, %d were started before it: %w", spec.line, i, err)
		}
		if err != nil {
			return ids, err
		}
		ids = append(ids, started.ID)
		switch {
		case quiet:
		case c.json():
			err = c.printJSON(map[string]string{"id": started.ID})
		default:
			_, err = fmt.Fprintln(c.stdout, started.ID)
		}
		if err != nil {
			return ids, err
		}
	}
	return ids, nil
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
	cmd.LocalNonPersistentFlags().Visit(func(f *pflag.Flag) {
		for _, name := range allowed {
			if f.Name == name {
				return
			}
		}
		others = append(others, "--"+f.Name)
	})
	return ifAny(others, "it does not go with --"+allowed[0])
}

func ifAny(what []string, why string) error {
	if len(what) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %s", strings.Join(what, " "), why)
}
