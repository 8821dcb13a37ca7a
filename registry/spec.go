package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Disposition is what recovery may do to a process whose holder's session
// ended. It is declared with the process and has no default.
type Disposition string

// Rerunnable work may be run again by anybody after a crash. Its handler
// should be idempotent, or use the fence.
const Rerunnable Disposition = "rerunnable"

const (
	defaultQueue       = "default"
	defaultPriority    = 1
	lowestPriority     = 3
	defaultMaxAttempts = 10
	defaultBackoff     = time.Second
	// inlineInput is how many bytes of input or output stand in the row
	// itself. Larger ones have a key of their own, so that a retry does not
	// rewrite them and lists stay light.
	inlineBytes = 4 << 10
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
	// 10 if zero. Attempts that were lost with their node or handed back at a
	// shutdown don't count.
	MaxAttempts int `json:"max_attempts,omitempty"`
	// Backoff is the delay before the first retry, which grows from error to
	// error; 1 s if zero.
	Backoff Duration `json:"backoff,omitzero"`
	// Input is any JSON, or nothing.
	Input json.RawMessage `json:"input,omitempty"`
	// DueAt is when the process may first be claimed, by the clocks of the
	// nodes; at once if zero. It is not part of what makes two specs equal.
	DueAt time.Time `json:"due_at,omitzero"`
}

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

// With returns the spec changed by opts.
func (s Spec) With(opts ...StartOption) Spec {
	for _, o := range opts {
		o(&s)
	}
	return s
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
	if s.Disposition != Rerunnable {
		check(fmt.Errorf("%w: disposition %.40q, it must be %q", ErrInvalid, s.Disposition, Rerunnable))
	}
	if s.MaxAttempts < 0 {
		check(fmt.Errorf("%w: max attempts %d is negative", ErrInvalid, s.MaxAttempts))
	}
	if s.Backoff < 0 {
		check(fmt.Errorf("%w: backoff %s is negative", ErrInvalid, s.Backoff))
	}
	if !s.DueAt.IsZero() && (s.DueAt.Before(time.Unix(0, 0)) || s.DueAt.After(latest)) {
		check(fmt.Errorf("%w: due at %s, which is not between 1970 and 2262", ErrInvalid, s.DueAt))
	}
	if len(s.Input) > 0 && !json.Valid(s.Input) {
		check(fmt.Errorf("%w: the input is not JSON", ErrInvalid))
	}
	return errors.Join(errs...)
}

// storedSpec is a Spec as it stands in the row, where it never changes.
type storedSpec struct {
	Kind        string          `json:"kind"`
	Queue       string          `json:"queue"`
	Priority    int             `json:"priority"`
	Disposition Disposition     `json:"disposition"`
	MaxAttempts int             `json:"max_attempts,omitempty"`
	Backoff     Duration        `json:"backoff,omitzero"`
	Input       json.RawMessage `json:"input,omitempty"`
	InputBytes  int             `json:"input_bytes,omitempty"` // set if the input has a key of its own
	Hash        string          `json:"hash,omitempty"`
}

// encodedSpec is a valid Spec made ready to be written.
type encodedSpec struct {
	id    string
	due   time.Time
	spec  storedSpec
	raw   json.RawMessage // spec as JSON
	input json.RawMessage // for a key of its own, or nil
}

// encodeSpec checks everything that can be checked without etcd.
func encodeSpec(s Spec, maxInput int) (encodedSpec, error) {
	if err := s.Validate(); err != nil {
		return encodedSpec{}, err
	}
	input, err := compact(s.Input)
	if err != nil {
		return encodedSpec{}, fmt.Errorf("%w: input: %w", ErrInvalid, err)
	}
	if len(input) > maxInput {
		return encodedSpec{}, &TooLargeError{What: "input", Size: len(input), Max: maxInput}
	}
	e := encodedSpec{id: s.ID, due: s.DueAt}
	if e.id == "" {
		if e.id, err = newID(); err != nil {
			return encodedSpec{}, err
		}
	}
	e.spec = storedSpec{
		Kind: s.Kind, Queue: s.Queue, Priority: defaultPriority, Disposition: s.Disposition,
		MaxAttempts: s.MaxAttempts, Backoff: s.Backoff, Input: input,
	}
	if e.spec.Queue == "" {
		e.spec.Queue = defaultQueue
	}
	if s.Priority != nil {
		e.spec.Priority = *s.Priority
	}
	err = e.seal() // before e is read
	return e, err
}

// seal hashes the spec with its input, then moves a large input out of it.
func (e *encodedSpec) seal() error {
	whole := e.spec
	// A default that is spelled out is the same spec as one that is not.
	whole.MaxAttempts, whole.Backoff = e.spec.maxAttempts(), Duration(e.spec.backoff())
	content, err := encode(whole)
	if err != nil {
		return fmt.Errorf("encode the spec of %s: %w", e.id, err)
	}
	sum := sha256.Sum256(content)
	e.spec.Hash = hex.EncodeToString(sum[:16])
	if len(e.spec.Input) > inlineBytes {
		e.input, e.spec.InputBytes, e.spec.Input = e.spec.Input, len(e.spec.Input), nil
	}
	if e.raw, err = encode(e.spec); err != nil {
		return fmt.Errorf("encode the spec of %s: %w", e.id, err)
	}
	return nil
}

func (s storedSpec) maxAttempts() int {
	if s.MaxAttempts == 0 {
		return defaultMaxAttempts
	}
	return s.MaxAttempts
}

func (s storedSpec) backoff() time.Duration {
	if s.Backoff == 0 {
		return defaultBackoff
	}
	return time.Duration(s.Backoff)
}
