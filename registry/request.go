package registry

import (
	"encoding/json"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Request asks whoever holds a process to end it.
type Request struct {
	// What is asked for: "" to cancel it, or one of the constants below.
	What   string    `json:"what,omitempty"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
	// Revision is the one at which it was made. It is meant for the claims
	// whose fence is smaller.
	Revision int64 `json:"-"`
}

// What a Request can ask for beside to cancel.
const (
	// RequestAbandon: give the process up, whatever became of it.
	RequestAbandon = "abandon"
	// RequestDeadline: its deadline has passed.
	RequestDeadline = "deadline"
)

// text is why, for people to read.
func (q Request) text() string {
	switch {
	case q.Reason != "":
		return q.Reason
	case q.What == RequestAbandon:
		return "abandon requested"
	case q.What == RequestDeadline:
		return reasonDeadline
	default:
		return "cancel requested"
	}
}

// ending is what the request makes of a process that did not complete.
func (q Request) ending(err string, at time.Time) ending {
	e := ending{outcome: Cancelled, reason: q.text(), err: err, at: at}
	if q.What == "" { // of others the evidence tells, or the deadline
		e.request = &q
	}
	switch q.What {
	case RequestAbandon:
		e.outcome = Abandoned
		e.evidence = &Evidence{What: EvidenceRequest, By: q.By, Reason: q.Reason, At: q.At}
	case RequestDeadline:
		e.outcome = Failed
	}
	return e
}

// decodeRequest also makes something of one that can't be read, beside the
// error: that somebody asked is what matters.
func decodeRequest(kv *mvccpb.KeyValue) (*Request, error) {
	q := Request{}
	err := json.Unmarshal(kv.Value, &q)
	if err != nil {
		q, err = Request{}, &CorruptError{Key: string(kv.Key), Why: err}
	}
	q.Revision = kv.ModRevision
	return &q, err
}
