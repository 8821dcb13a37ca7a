package main

import (
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
	flags.Var(atLeast(&f.maxAttempts, 1), "max-attempts", "errors after which it has failed (default the kind's, else 10)")
	flags.Var(positive(&f.backoff), "backoff", "delay before the first retry, doubled for each error (default the kind's, else 1s)")
	flags.Var(positive(&f.attemptTimeout), "attempt-timeout", "limit for a single attempt (default the kind's, else none)")
	flags.Var(positive(&f.deadline), "deadline", "limit for all of it, from when it is started (default none)")
}

func (f *policyFlags) apply(s *registry.Spec) {
	s.MaxAttempts, s.Backoff = f.maxAttempts, registry.Duration(f.backoff)
	s.AttemptTimeout, s.Deadline = registry.Duration(f.attemptTimeout), registry.Duration(f.deadline)
}

// parseLabels reads --label K=V, each of which is well by itself.
func parseLabels(pairs []string) (map[string]string, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	labels := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, _ := strings.Cut(pair, "=")
		if there, twice := labels[name]; twice && there != value {
			return nil, fmt.Errorf("--label %s: it is given as %q and as %q", name, there, value)
		}
		labels[name] = value
	}
	if err := registry.CheckLabels(labels); err != nil {
		return nil, fmt.Errorf("--label: %w", err)
	}
	return labels, nil
}

// allStatuses are those of processes that wait or run, then those of ended ones.
var allStatuses = []registry.Status{
	registry.StatusScheduled, registry.StatusPending, registry.StatusRunning, registry.StatusOrphaned, registry.StatusParked,
	registry.StatusCompleted, registry.StatusFailed, registry.StatusCancelled, registry.StatusAbandoned,
}

// statusNames are what --status takes.
func statusNames(among func(registry.Status) bool) (names []string) {
	for _, s := range allStatuses {
		if among(s) {
			names = append(names, string(s))
		}
	}
	return names
}
