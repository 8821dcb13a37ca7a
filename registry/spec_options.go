package registry

import (
	"maps"
	"time"
)

// StartOption changes one field of a Spec.
type StartOption func(*Spec)

// ID sets [Spec].ID.
func ID(id string) StartOption { return func(s *Spec) { s.ID = id } }

// Queue sets [Spec].Queue.
func Queue(name string) StartOption { return func(s *Spec) { s.Queue = name } }

// Priority sets [Spec].Priority: 0 is served first, 3 last.
func Priority(p int) StartOption { return func(s *Spec) { s.Priority = &p } }

// MaxAttempts sets [Spec].MaxAttempts.
func MaxAttempts(n int) StartOption { return func(s *Spec) { s.MaxAttempts = n } }

// Backoff sets [Spec].Backoff.
func Backoff(d time.Duration) StartOption { return func(s *Spec) { s.Backoff = Duration(d) } }

// At sets [Spec].DueAt.
func At(t time.Time) StartOption { return func(s *Spec) { s.DueAt = t } }

// After sets [Spec].Delay.
func After(d time.Duration) StartOption { return func(s *Spec) { s.Delay = Duration(d) } }

// ConstantBackoff sets [Spec].Backoff and [Spec].BackoffPolicy, so that every
// retry comes after d.
func ConstantBackoff(d time.Duration) StartOption {
	return func(s *Spec) { s.Backoff, s.BackoffPolicy = Duration(d), BackoffConstant }
}

// MaxAdoptions sets [Spec].MaxAdoptions.
func MaxAdoptions(n int) StartOption { return func(s *Spec) { s.MaxAdoptions = n } }

// AttemptTimeout sets [Spec].AttemptTimeout.
func AttemptTimeout(d time.Duration) StartOption {
	return func(s *Spec) { s.AttemptTimeout = Duration(d) }
}

// Deadline sets [Spec].Deadline.
func Deadline(d time.Duration) StartOption { return func(s *Spec) { s.Deadline = Duration(d) } }

// Label adds one of [Spec].Labels.
func Label(name, value string) StartOption {
	return func(s *Spec) {
		labels := maps.Clone(s.Labels) // the spec may be shared
		if labels == nil {
			labels = map[string]string{}
		}
		labels[name] = value
		s.Labels = labels
	}
}

// Authority sets [Spec].Authority.
func Authority(name string) StartOption { return func(s *Spec) { s.Authority = name } }

// With returns the spec changed by opts.
func (s Spec) With(opts ...StartOption) Spec {
	for _, o := range opts {
		o(&s)
	}
	return s
}
