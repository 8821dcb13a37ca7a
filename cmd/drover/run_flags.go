package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/drover-run/drover/registry"
)

type runFlags struct {
	id          string
	retry       bool
	priority    int
	disposition string
	policy      policyFlags
	labels      []string
	command     commandFlags
}

func (f *runFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.id, "id", "", "id of the process (default a new UUID)")
	flags.BoolVar(&f.retry, "retry", false, "run it again if it has ended and did not complete")
	flags.IntVar(&f.priority, "priority", 1, "0 to 3, for others who look at it: a run serves nothing else")
	flags.StringVar(&f.disposition, "disposition", string(registry.Rerunnable), "what recovery may do: rerunnable, or owner-bound (never run it twice)")
	flags.IntVar(&f.policy.maxAttempts, "max-attempts", 1, "errors after which it has failed")
	flags.DurationVar(&f.policy.backoff, "backoff", time.Second, "delay before the first retry, doubled for each error")
	flags.DurationVar(&f.policy.attemptTimeout, "attempt-timeout", 0, "limit for a single attempt (default none)")
	flags.DurationVar(&f.policy.deadline, "deadline", 0, "limit for all of it, from when it was first started (default none)")
	flags.StringArrayVarP(&f.labels, "label", "l", nil, "K=V to find it by; may be repeated")
	f.command.add(flags)
}

func (f *runFlags) check(cmd *cobra.Command) error {
	if cmd.Flags().Changed("id") && f.id == "" {
		return errors.New(`--id "": an id is not empty`)
	}
	if d := registry.Disposition(f.disposition); d != registry.Rerunnable && d != registry.OwnerBound {
		return fmt.Errorf("--disposition %s: of a run it must be %s or %s", f.disposition, registry.Rerunnable, registry.OwnerBound)
	}
	return f.policy.check(cmd.Flags())
}

// runSpec is the process that a run is for.
func (c *cli) runSpec(cmd *cobra.Command, args []string, f runFlags) (registry.Spec, error) {
	words, argv := splitAtDash(cmd, args)
	if len(words) > 0 {
		return registry.Spec{}, fmt.Errorf("%q stands before --, which is to stand before the command", words[0])
	}
	if err := f.check(cmd); err != nil {
		return registry.Spec{}, err
	}
	labels, err := parseLabels(f.labels)
	if err != nil {
		return registry.Spec{}, err
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
		ID: f.id, Kind: kindExec, Queue: "run." + runHash(f.id), Priority: &f.priority,
		Disposition: registry.Disposition(f.disposition), Labels: labels,
		// However often its machine went down, who calls it wants it done.
		MaxAdoptions: registry.NeverQuarantined,
		Input:        input,
	}
	f.policy.apply(&spec)
	return spec, spec.Validate()
}
