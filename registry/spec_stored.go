package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// inlineBytes is how many bytes of input or output stand in the row itself.
// Larger ones have a key of their own, so that a retry does not rewrite them
// and lists stay light.
const inlineBytes = 4 << 10

// storedSpec is a Spec as it stands in the row, where it never changes.
type storedSpec struct {
	Kind           string            `json:"kind"`
	Queue          string            `json:"queue"`
	Priority       int               `json:"priority"`
	Disposition    Disposition       `json:"disposition"`
	MaxAttempts    int               `json:"max_attempts,omitempty"`
	Backoff        Duration          `json:"backoff,omitzero"`
	BackoffPolicy  string            `json:"backoff_policy,omitempty"`
	MaxAdoptions   int               `json:"max_adoptions,omitempty"`
	AttemptTimeout Duration          `json:"attempt_timeout,omitzero"`
	Deadline       Duration          `json:"deadline,omitzero"`
	Labels         map[string]string `json:"labels,omitempty"`
	Authority      string            `json:"authority,omitempty"`
	Input          json.RawMessage   `json:"input,omitempty"`
	InputBytes     int               `json:"input_bytes,omitempty"` // set if the input has a key of its own
	Hash           string            `json:"hash,omitempty"`
}

// encodedSpec is a valid Spec made ready to be written.
type encodedSpec struct {
	id    string
	due   time.Time
	delay time.Duration
	spec  storedSpec
	raw   json.RawMessage // spec as JSON
	input json.RawMessage // for a key of its own, or nil
}

// dueAt is when the process may first be claimed, zero for at once.
func (e encodedSpec) dueAt(now time.Time) time.Time {
	if e.delay > 0 {
		return now.Add(e.delay)
	}
	return e.due
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
	e := encodedSpec{id: s.ID, due: s.DueAt, delay: time.Duration(s.Delay)}
	if e.id == "" {
		if e.id, err = newID(); err != nil {
			return encodedSpec{}, err
		}
	}
	e.spec = storedSpec{
		Kind: s.Kind, Queue: s.Queue, Priority: defaultPriority, Disposition: s.Disposition,
		MaxAttempts: s.MaxAttempts, Backoff: s.Backoff, BackoffPolicy: s.BackoffPolicy,
		MaxAdoptions: s.MaxAdoptions, AttemptTimeout: s.AttemptTimeout, Deadline: s.Deadline,
		Labels: s.Labels, Authority: s.Authority, Input: input,
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
	if whole.MaxAdoptions == defaultMaxAdoptions {
		whole.MaxAdoptions = 0
	}
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

// adoptionLimit is 0 if there is none.
func (s storedSpec) adoptionLimit() int {
	switch s.MaxAdoptions {
	case 0:
		return defaultMaxAdoptions
	case NeverQuarantined:
		return 0
	default:
		return s.MaxAdoptions
	}
}
