package main

import (
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
	f.priority, f.disposition, f.policy.maxAttempts, f.policy.backoff = 1, string(registry.Rerunnable), 1, time.Second
	flags.Var(textValue{&f.id, isID}, "id", "id of the process (default a new UUID)")
	flags.BoolVar(&f.retry, "retry", false, "run it again if it has ended and did not complete")
	flags.Var(numberValue[int]{&f.priority, 0, 3}, "priority", "0 to 3, for others who look at it: a run serves nothing else")
	flags.Var(textValue{&f.disposition, oneOf(string(registry.Rerunnable), string(registry.OwnerBound))}, "disposition",
		"what recovery may do: rerunnable, or owner-bound (never run it twice)")
	flags.Var(atLeast(&f.policy.maxAttempts, 1), "max-attempts", "errors after which it has failed")
	flags.Var(positive(&f.policy.backoff), "backoff", "delay before the first retry, doubled for each error")
	flags.Var(positive(&f.policy.attemptTimeout), "attempt-timeout", "limit for a single attempt (default none)")
	flags.Var(positive(&f.policy.deadline), "deadline", "limit for all of it, from when it was first started (default none)")
	flags.VarP(arrayValue{&f.labels, isLabel}, "label", "l", "K=V to find it by; may be repeated")
	f.command.add(flags)
}

// check is for what can be said before anything is begun.
func (f *runFlags) check(cmd *cobra.Command, args []string) error {
	words, argv := splitAtDash(cmd, args)
	if len(words) > 0 {
		return fmt.Errorf("%q stands before --, which is to stand before the command", words[0])
	}
	if _, err := parseLabels(f.labels); err != nil {
		return err
	}
	return checkArgv(argv)
}

// runSpec is the process that a run is for.
func (c *cli) runSpec(cmd *cobra.Command, args []string, f runFlags) (registry.Spec, error) {
	_, argv := splitAtDash(cmd, args)
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
