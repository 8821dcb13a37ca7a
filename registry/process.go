package registry

import (
	"cmp"
	"encoding/json"
	"time"
)

// Outcome is the terminal fact of a process. There is one at the most for
// each series, and it never changes.
type Outcome string

// The outcomes.
const (
	Completed Outcome = "completed" // its handler returned a value
	Failed    Outcome = "failed"    // its handler failed for good, or too often
	Cancelled Outcome = "cancelled" // somebody asked for it, or its handler did
	// Abandoned: nobody will go on with it, and how far it came is not known.
	// The evidence says by what right it was given up.
	Abandoned Outcome = "abandoned"
)

func (o Outcome) valid() bool {
	return o == Completed || o == Failed || o == Cancelled || o == Abandoned
}

// Status is where a process is: one of the outcomes, or where it waits.
type Status string

// The statuses of processes that have not ended.
const (
	StatusScheduled Status = "scheduled" // it waits for a time: a start, a retry or a snooze
	StatusPending   Status = "pending"   // it may be claimed
	StatusRunning   Status = "running"   // it is claimed by a living session
	StatusOrphaned  Status = "orphaned"  // it is claimed, and its session ended
	StatusParked    Status = "parked"    // it is run by somebody outside
)

// The statuses of processes that have ended are their outcomes.
const (
	StatusCompleted Status = Status(Completed)
	StatusFailed    Status = Status(Failed)
	StatusCancelled Status = Status(Cancelled)
	StatusAbandoned Status = Status(Abandoned)
)

// Ended says whether no further attempt will be made in this series.
func (s Status) Ended() bool {
	switch s {
	case StatusCompleted, StatusFailed, StatusCancelled, StatusAbandoned:
		return true
	default:
		return false
	}
}

// Valid says whether s is one of the statuses above.
func (s Status) Valid() bool {
	switch s {
	case StatusScheduled, StatusPending, StatusRunning, StatusOrphaned, StatusParked:
		return true
	default:
		return s.Ended()
	}
}

// Process is a process as it was at one revision, for people and programs to
// read. Its JSON is what the command line prints. What is absent is omitted.
type Process struct {
	ID          string      `json:"id"`
	Kind        string      `json:"kind"`
	Queue       string      `json:"queue"`
	Priority    int         `json:"priority"`
	Disposition Disposition `json:"disposition"`
	Status      Status      `json:"status"`
	Series      int         `json:"series"`
	// Attempt is the number of the current attempt, or of the last one.
	Attempt     int      `json:"attempt"`
	Errors      int      `json:"errors"`
	Adoptions   int      `json:"adoptions"` // that count: nodes that died under it
	Snoozes     int      `json:"snoozes"`
	MaxAttempts int      `json:"max_attempts"`
	Backoff     Duration `json:"backoff"`

	BackoffPolicy  string            `json:"backoff_policy,omitempty"`
	MaxAdoptions   int               `json:"max_adoptions,omitempty"` // if it is not the default
	AttemptTimeout Duration          `json:"attempt_timeout,omitzero"`
	Deadline       Duration          `json:"deadline,omitzero"` // from creation
	Labels         map[string]string `json:"labels,omitempty"`
	Authority      string            `json:"authority,omitempty"` // who may end it, if it is parked

	CreatedAt  time.Time `json:"created_at"`
	DueAt      time.Time `json:"due_at,omitzero"`     // while scheduled
	StartedAt  time.Time `json:"started_at,omitzero"` // of the current or last attempt
	FinishedAt time.Time `json:"finished_at,omitzero"`

	Claim *Holding `json:"claim,omitempty"` // while running or orphaned
	Fence int64    `json:"fence,omitempty"` // once ended, if it was ever claimed

	Input         json.RawMessage `json:"input,omitempty"`
	Output        json.RawMessage `json:"output,omitempty"`
	Error         string          `json:"error,omitempty"`
	OutcomeReason string          `json:"outcome_reason,omitempty"`
	// Evidence is by what right a process was ended that no attempt ended.
	Evidence *Evidence `json:"evidence,omitempty"`
	// Reference is what the process is outside, once it was handed off.
	Reference json.RawMessage `json:"reference,omitempty"`
	// Progress is what the present attempt, or the last, said of itself.
	Progress json.RawMessage `json:"progress,omitempty"`
	History  []PastAttempt   `json:"history,omitempty"` // oldest first, the last 20

	// CancelRequested is what its holder is asked for: also to abandon it, or
	// by its deadline. Once it has ended it is the request that cancelled it.
	CancelRequested *Request `json:"cancel_requested,omitempty"`
}

// Ended says whether the process has an outcome.
func (p Process) Ended() bool { return p.Status.Ended() }

// Holding says who has the claim on a process.
type Holding struct {
	Node      string    `json:"node"`
	Session   string    `json:"session"`
	Fence     int64     `json:"fence"`
	ClaimedAt time.Time `json:"claimed_at"`
}

// process is the row as people see it, but for where it waits.
func (r row) process() Process {
	p := Process{
		ID: r.ID, Kind: r.spec.Kind, Queue: r.spec.Queue, Priority: r.spec.Priority,
		Disposition: r.spec.Disposition, Status: Status(r.Outcome), Series: r.Series,
		Attempt: r.Attempt, Errors: r.Errors, Adoptions: r.Adoptions, Snoozes: r.Snoozes,
		MaxAttempts: r.spec.maxAttempts(), Backoff: Duration(r.spec.backoff()),
		CreatedAt: r.CreatedAt.UTC(), StartedAt: utc(r.StartedAt), FinishedAt: utc(r.FinishedAt),
		Input: r.spec.Input, Output: r.Output, Error: r.Error, OutcomeReason: r.Reason,
		History: r.History, Evidence: r.Evidence, Reference: r.Reference,
		BackoffPolicy: r.spec.BackoffPolicy, MaxAdoptions: r.spec.MaxAdoptions,
		AttemptTimeout: r.spec.AttemptTimeout, Deadline: r.spec.Deadline, Labels: r.spec.Labels,
		CancelRequested: r.Request,
		Authority:       cmp.Or(r.Authority, r.spec.Authority),
	}
	if r.ended() {
		p.Fence = r.Fence
	}
	return p
}

// utc keeps the zero time zero, so that JSON omits it.
func utc(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC()
}
