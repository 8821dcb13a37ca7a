package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/drover-run/drover/registry"
)

// policyFlags say how often a process is tried and for how long. One that was
// not given leaves it to the policy of the kind.
type policyFlags struct {
	maxAttempts                       int
	backoff, attemptTimeout, deadline time.Duration
}

func (f *policyFlags) add(flags *pflag.FlagSet) {
	flags.IntVar(&f.maxAttempts, "max-attempts", 0, "errors after which it has failed (default the kind's, else 10)")
	flags.DurationVar(&f.backoff, "backoff", 0, "delay before the first retry, doubled for each error (default the kind's, else 1s)")
	flags.DurationVar(&f.attemptTimeout, "attempt-timeout", 0, "limit for a single attempt (default the kind's, else none)")
	flags.DurationVar(&f.deadline, "deadline", 0, "limit for all of it, from when it is started (default none)")
}

func (f *policyFlags) check(flags *pflag.FlagSet) error {
	var errs []error
	if flags.Changed("max-attempts") && f.maxAttempts < 1 {
		errs = append(errs, fmt.Errorf("--max-attempts %d: it must be at least 1", f.maxAttempts))
	}
	for _, limit := range []struct {
		flag string
		d    time.Duration
	}{{"backoff", f.backoff}, {"attempt-timeout", f.attemptTimeout}, {"deadline", f.deadline}} {
		if flags.Changed(limit.flag) && limit.d <= 0 {
			errs = append(errs, fmt.Errorf("--%s %s: it must be positive", limit.flag, limit.d))
		}
	}
	return errors.Join(errs...)
}

func (f *policyFlags) apply(s *registry.Spec) {
	s.MaxAttempts, s.Backoff = f.maxAttempts, registry.Duration(f.backoff)
	s.AttemptTimeout, s.Deadline = registry.Duration(f.attemptTimeout), registry.Duration(f.deadline)
}

// parseLabels reads --label K=V.
func parseLabels(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	labels := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--label %s: it must be K=V", pair)
		}
		if there, twice := labels[name]; twice && there != value {
			return nil, fmt.Errorf("--label %s: it is given as %q and as %q", name, there, value)
		}
		labels[name] = value
	}
	return labels, registry.CheckLabels(labels)
}

// allStatuses are those of processes that wait or run, then those of ended ones.
var allStatuses = []registry.Status{
	registry.StatusScheduled, registry.StatusPending, registry.StatusRunning, registry.StatusOrphaned, registry.StatusParked,
	registry.StatusCompleted, registry.StatusFailed, registry.StatusCancelled, registry.StatusAbandoned,
}

// parseStatuses reads --status.
func parseStatuses(names []string) ([]registry.Status, error) {
	var statuses []registry.Status
	for _, name := range names {
		status := registry.Status(strings.TrimSpace(name))
		if !status.Valid() {
			return nil, fmt.Errorf("--status %s: there is no such status", name)
		}
		statuses = append(statuses, status)
	}
	return statuses, nil
}
