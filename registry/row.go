package registry

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	schema = 1
	// maxHistory and maxErrorBytes bound what a row grows by: 20 attempts,
	// 2 KiB of error text each.
	maxHistory    = 20
	maxErrorBytes = 2 << 10
)

// What a history entry says when it was not the handler that ended the
// attempt.
const (
	SessionLost  = "session lost"              // its node died under it, as far as others know
	LostInOutage = "session lost in an outage" // its node lives, or nobody can know; no adoption is counted
	HandedBack   = "handed back"               // its node shut down
	HandedOff    = "handed off"                // somebody outside goes on with it
	PutOff       = "put off"                   // its handler had nothing to do yet
)

// row is the durable state of one process. First what changes, then the spec,
// whose bytes are copied verbatim from write to write.
type row struct {
	Schema    int       `json:"schema"`
	ID        string    `json:"id"`
	Series    int       `json:"series"`
	Attempt   int       `json:"attempt"` // attempts that ended; one under a claim is the next
	Errors    int       `json:"errors,omitempty"`
	Adoptions int       `json:"adoptions,omitempty"`
	Snoozes   int       `json:"snoozes,omitempty"`
	CreatedAt time.Time `json:"created_at"`

	// Seq, Due and What say where the process waits when it is neither
	// claimed nor ended: its pending key follows from them, and its timer
	// key if it has one.
	Seq  int64     `json:"seq"`
	Due  time.Time `json:"due,omitzero"`
	What string    `json:"what,omitempty"`

	// DeadlineAt is when this series is failed if it has not ended; its timer
	// key follows from it.
	DeadlineAt time.Time `json:"deadline_at,omitzero"`
	// Reference and Authority are of a process that was handed off: what it is
	// outside, and who may end it.
	Reference json.RawMessage `json:"reference,omitempty"`
	Authority string          `json:"authority,omitempty"`

	StartedAt  time.Time       `json:"started_at,omitzero"` // of the last attempt that ended
	FinishedAt time.Time       `json:"finished_at,omitzero"`
	Outcome    Outcome         `json:"outcome,omitempty"`
	Reason     string          `json:"outcome_reason,omitempty"`
	Error      string          `json:"error,omitempty"`
	Output     json.RawMessage `json:"output,omitempty"`
	OutputSize int             `json:"output_bytes,omitempty"` // set if the output has a key of its own
	Evidence   *Evidence       `json:"evidence,omitempty"`     // of an outcome that no attempt wrote
	Request    *Request        `json:"request,omitempty"`      // that the outcome answers

	// Fence is the last claim that wrote this row, Mark a hash of what it
	// wrote: together they tell an unanswered write of ours from a later one.
	Fence   int64           `json:"fence,omitempty"`
	Mark    string          `json:"mark,omitempty"`
	EndMark string          `json:"end_mark,omitempty"` // of the write that ended the series before
	Opened  string          `json:"opened,omitempty"`   // nonce of the write that opened this one again
	History []PastAttempt   `json:"history,omitempty"`
	Spec    json.RawMessage `json:"spec"`

	spec storedSpec // Spec, decoded
}

// What a process is due for, in its timer key and its row.
const (
	dueStart  = "start"
	dueRetry  = "retry"
	dueSnooze = "snooze"
	// whereParked is no timer: the place is parked/<id>.
	whereParked = "parked"
	// dueDeadline is a timer that is no place.
	dueDeadline = "deadline"
)

func (r row) ended() bool { return r.Outcome != "" }

// overdue says whether its deadline has passed.
func (r row) overdue(now time.Time) bool { return !r.DeadlineAt.IsZero() && !now.Before(r.DeadlineAt) }

// setDeadline counts the deadline of its spec from now.
func (r *row) setDeadline(now time.Time) {
	r.DeadlineAt = time.Time{}
	if d := time.Duration(r.spec.Deadline); d > 0 {
		r.DeadlineAt = now.Add(d).UTC().Round(0)
	}
}

// entry is where the row says that the process waits.
func (r row) entry() Entry {
	return Entry{ID: r.ID, Queue: r.spec.Queue, Kind: r.spec.Kind, Priority: r.spec.Priority, Seq: r.Seq}
}

func (r row) encode() (string, error) {
	b, err := encode(r)
	return string(b), err
}

// decodeRow reads a row and distrusts it: whoever has etcdctl can have
// written it.
func decodeRow(key string, id string, value []byte) (row, error) {
	var r row
	// A field that this drover does not know may change what the process is, and
	// would be gone with the next write.
	if err := decodeStrictly(value, &r); err != nil {
		var newer struct{ Schema int }
		if json.Unmarshal(value, &newer) == nil && newer.Schema > schema {
			err = newerSchema(newer.Schema)
		}
		return row{}, &CorruptError{Key: key, Why: err}
	}
	if r.Schema > schema {
		return row{}, &CorruptError{Key: key, Why: newerSchema(r.Schema)}
	}
	if err := decodeStrictly(r.Spec, &r.spec); err != nil {
		return row{}, &CorruptError{Key: key, Why: fmt.Errorf("spec: %w", err)}
	}
	if err := r.check(id); err != nil {
		return row{}, &CorruptError{Key: key, Why: err}
	}
	return r, nil
}

func newerSchema(n int) error {
	return fmt.Errorf("its schema is %d, this drover knows %d: a newer one wrote it", n, schema)
}

func (r row) check(id string) error {
	switch {
	case r.Schema < 1 || r.Series < 1 || r.Seq <= 0 || r.CreatedAt.IsZero():
		return errors.New("schema, series, seq or created_at is missing")
	case r.ID != id:
		return fmt.Errorf("it says that it is the process %.80q", r.ID)
	case r.spec.Kind == "" || r.spec.Queue == "" || r.spec.Hash == "" || r.spec.Disposition == "":
		return errors.New("spec: kind, queue, disposition or hash is missing")
	case r.spec.Priority < 0 || r.spec.Priority > lowestPriority:
		return fmt.Errorf("spec: priority %d", r.spec.Priority)
	case r.spec.Disposition != Rerunnable && r.spec.Disposition != OwnerBound && r.spec.Disposition != External:
		return fmt.Errorf("spec: disposition %.40q", r.spec.Disposition)
	}
	return nil
}

// PastAttempt is one attempt that ended.
type PastAttempt struct {
	Attempt   int       `json:"attempt"`
	Node      string    `json:"node"`
	Fence     int64     `json:"fence"`
	StartedAt time.Time `json:"started_at"`
	EndedAt   time.Time `json:"ended_at"`
	// Error is empty for the attempt that completed the process; SessionLost,
	// LostInOutage, HandedBack, HandedOff or PutOff where it was not an error
	// that ended it. It is cut at 2 KiB.
	Error string `json:"error,omitempty"`
	// Log is where the whole of what the attempt wrote is kept, as its handler
	// says; cut at 2 KiB.
	Log string `json:"log,omitempty"`
}

// endAttempt counts an attempt that was under a claim and writes it into the
// history.
func (r *row) endAttempt(node string, fence int64, started, ended time.Time, why string) {
	r.Attempt++
	r.Fence = fence
	r.StartedAt = started
	r.History = append(r.History[:len(r.History):len(r.History)], PastAttempt{
		Attempt: r.Attempt, Node: node, Fence: fence,
		StartedAt: started, EndedAt: ended, Error: cut(why),
	})
	if n := len(r.History); n > maxHistory {
		r.History = r.History[n-maxHistory:]
	}
}

// cut shortens an error text to what a row may hold, between characters.
func cut(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= maxErrorBytes {
		return text
	}
	end := maxErrorBytes - len("…")
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

// sealed encodes the row with the mark by which this very write is known
// again: a hash of the rest of it and of the nonce.
func (r *row) sealed(nonce string) (string, error) {
	r.Mark = markOf([]byte(nonce)) // as long as the mark, and nothing else in the row is like it
	content, err := encode(r)
	if err != nil {
		return "", fmt.Errorf("encode the row of %s: %w", r.ID, err)
	}
	at := bytes.Index(content, []byte(r.Mark))
	r.Mark = markOf(content)
	copy(content[at:], r.Mark)
	return string(content), nil
}

func markOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}

// setOutput puts an output into the row, or says that it is to have a key of
// its own, which is returned then.
func (r *row) setOutput(output json.RawMessage) (apart json.RawMessage) {
	r.Output, r.OutputSize = output, 0
	if len(output) > inlineBytes {
		r.Output, r.OutputSize = nil, len(output)
		return output
	}
	return nil
}
