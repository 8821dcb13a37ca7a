package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Disposition is what recovery may do to a process whose holder's session
// ended. It is declared with the process and has no default.
type Disposition string

// The dispositions.
const (
	// Rerunnable work may be run again by anybody after a crash. Its handler
	// should be idempotent, or use the fence.
	Rerunnable Disposition = "rerunnable"
	// OwnerBound work is never run again once it was started: not after an
	// error, and not after a crash. When its holder's session ends it shows as
	// orphaned, and becomes abandoned on proof that the holder is dead, or
	// when somebody asks for that with [Registry.Abandon].
	OwnerBound Disposition = "owner-bound"
	// External work is done by somebody else: no node claims it. It waits,
	// parked, for [Registry.EndExternal].
	External Disposition = "external"
)

// BackoffConstant as the BackoffPolicy of a Spec makes every retry come after
// just Backoff. The policy otherwise is exponential with full jitter.
const BackoffConstant = "constant"

// NeverQuarantined as the MaxAdoptions of a Spec: it is run again however many
// nodes die under it.
const NeverQuarantined = -1

const (
	defaultQueue        = "default"
	defaultPriority     = 1
	lowestPriority      = 3
	defaultMaxAttempts  = 10
	defaultMaxAdoptions = 3
	defaultBackoff      = time.Second
	// Limits of labels: how many, and the bytes of a value. They stand in the
	// row, which every write copies.
	maxLabels     = 32
	maxLabelBytes = 255
)

// Spec says what a process is. Two starts with the same id are the same
// process if everything here but the times is equal.
type Spec struct {
	// ID names the process: 1 to 255 bytes of UTF-8, not blank, without
	// control characters. A UUID of version 7 is made if it is empty.
	ID string `json:"id,omitempty"`
	// Kind is the name of the handler.
	Kind string `json:"kind"`
	// Queue is "default" if empty.
	Queue string `json:"queue,omitempty"`
	// Priority goes from 0, served first, to 3; 1 if nil.
	Priority *int `json:"priority,omitempty"`
	// Disposition is required.
	Disposition Disposition `json:"disposition"`
	// MaxAttempts is how many errors of the handler make the process failed;
	// zero leaves it to the kind's handler, and is 10 if that does not say.
	// Attempts that were lost with their node or handed back at a
	// shutdown don't count.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// Backoff is the ceiling of the delay before the first retry, which
	// doubles from error to error up to 10 min. The delay itself is random, up
	// to that ceiling. Zero leaves it to the kind's handler, and is 1 s if that
	// does not say.
	Backoff Duration `json:"backoff,omitzero"`
	// BackoffPolicy is "" or [BackoffConstant].
	BackoffPolicy string `json:"backoff_policy,omitempty"`
	// MaxAdoptions is how many nodes may die under the process before it is
	// failed, as one that kills nodes: 3 if zero, [NeverQuarantined] for any
	// number. Sessions that were lost in an outage are not counted, see
	// [Registry.Adopt]; nor is it, then, if the process starves its node until
	// the session is lost, and that node is back before anybody goes on with it.
	MaxAdoptions int `json:"max_adoptions,omitempty"`
	// AttemptTimeout limits a single attempt: its context is cancelled then,
	// and what it returns because of that is an error like others. Zero leaves
	// it to the kind's handler, and is no limit if that does not say.
	AttemptTimeout Duration `json:"attempt_timeout,omitzero"`
	// Deadline limits the whole process, from its creation on (of each series
	// anew): one that has not ended by then is failed, wherever it waits; a
	// running one is asked to end. None if zero.
	Deadline Duration `json:"deadline,omitzero"`
	// Labels are for people and programs to find processes by: at most 32,
	// with names as those of queues and values of up to 255 bytes.
	Labels map[string]string `json:"labels,omitempty"`
	// Authority is who may end an external process; anybody who gives a name
	// if it is empty. Only for [External] ones.
	Authority string `json:"authority,omitempty"`
	// Input is any JSON, or nothing.
	Input json.RawMessage `json:"input,omitempty"`
	// DueAt is when the process may first be claimed, by the clocks of the
	// nodes; at once if zero. It is not part of what makes two specs equal.
	DueAt time.Time `json:"due_at,omitzero"`
	// Delay is another way to say DueAt: so long after the start, by the
	// starter's clock.
	Delay Duration `json:"delay,omitzero"`
}

// Validate reports everything that is wrong with the spec, together. Limits
// of size are the registry's and are checked when it is started.
func (s Spec) Validate() error {
	var errs []error
	check := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if s.ID != "" {
		check(CheckID(s.ID))
	}
	check(checkName("kind", s.Kind))
	if s.Queue != "" {
		check(checkName("queue", s.Queue))
	}
	if p := s.Priority; p != nil && (*p < 0 || *p > lowestPriority) {
		check(fmt.Errorf("%w: priority %d is not 0, 1, 2 or 3", ErrInvalid, *p))
	}
	if len(s.Input) > 0 && !json.Valid(s.Input) {
		check(fmt.Errorf("%w: the input is not JSON", ErrInvalid))
	}
	check(s.checkDisposition())
	check(s.checkRetries())
	check(s.checkTimes())
	check(CheckLabels(s.Labels))
	return errors.Join(errs...)
}

func (s Spec) checkDisposition() error {
	switch s.Disposition {
	case Rerunnable, OwnerBound:
		if s.Authority != "" {
			return fmt.Errorf("%w: an authority goes with the disposition %q only", ErrInvalid, External)
		}
	case External:
		if !s.DueAt.IsZero() || s.Delay != 0 {
			return fmt.Errorf("%w: an external process is not claimed, so it can't be delayed", ErrInvalid)
		}
		if s.Authority != "" {
			return checkName("authority", s.Authority)
		}
	default:
		return fmt.Errorf("%w: disposition %.40q, it must be %q, %q or %q", ErrInvalid, s.Disposition, Rerunnable, OwnerBound, External)
	}
	return nil
}

func (s Spec) checkRetries() error {
	var errs []error
	if s.MaxAttempts < 0 {
		errs = append(errs, fmt.Errorf("%w: max attempts %d is negative", ErrInvalid, s.MaxAttempts))
	}
	if s.Backoff < 0 {
		errs = append(errs, fmt.Errorf("%w: backoff %s is negative", ErrInvalid, s.Backoff))
	}
	if s.BackoffPolicy != "" && s.BackoffPolicy != BackoffConstant {
		errs = append(errs, fmt.Errorf("%w: backoff policy %.40q, it must be empty or %q", ErrInvalid, s.BackoffPolicy, BackoffConstant))
	}
	if s.MaxAdoptions < NeverQuarantined {
		errs = append(errs, fmt.Errorf("%w: max adoptions %d, it must be at least 1, or -1 for no limit", ErrInvalid, s.MaxAdoptions))
	}
	return errors.Join(errs...)
}

func (s Spec) checkTimes() error {
	var errs []error
	if !s.DueAt.IsZero() && (s.DueAt.Before(time.Unix(0, 0)) || s.DueAt.After(latest)) {
		errs = append(errs, fmt.Errorf("%w: due at %s, which is not between 1970 and 2262", ErrInvalid, s.DueAt))
	}
	if s.Delay != 0 && !s.DueAt.IsZero() {
		errs = append(errs, fmt.Errorf("%w: a delay and a due time, it must be one of them", ErrInvalid))
	}
	for _, limit := range []struct {
		name string
		d    Duration
	}{{"delay", s.Delay}, {"attempt timeout", s.AttemptTimeout}, {"deadline", s.Deadline}} {
		if limit.d < 0 {
			errs = append(errs, fmt.Errorf("%w: %s %s is negative", ErrInvalid, limit.name, limit.d))
		}
	}
	return errors.Join(errs...)
}

// CheckLabels says what is wrong with labels, or nil: see [Spec].Labels. The
// error wraps [ErrInvalid].
func CheckLabels(labels map[string]string) error {
	var errs []error
	if n := len(labels); n > maxLabels {
		errs = append(errs, fmt.Errorf("%w: %d labels, the limit is %d", ErrInvalid, n, maxLabels))
	}
	for name, value := range labels {
		if err := checkName("label", name); err != nil {
			errs = append(errs, err)
		}
		if len(value) > maxLabelBytes || !utf8.ValidString(value) || strings.ContainsFunc(value, unicode.IsControl) {
			errs = append(errs, fmt.Errorf("%w: the value of label %.80q has control characters, is not UTF-8, or has more than %d bytes", ErrInvalid, name, maxLabelBytes))
		}
	}
	return errors.Join(errs...)
}
