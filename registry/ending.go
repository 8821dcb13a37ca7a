package registry

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ending is how a process ends.
type ending struct {
	outcome Outcome
	reason  string
	err     string // what the attempt ended in
	isError bool   // the handler's error, which counts
	output  json.RawMessage
	at      time.Time
	request *Request // that it answers, if it does
	// evidence is by what right, if no attempt ends it.
	evidence *Evidence
	// traces: attempts may have left progress or steps.
	traces bool
	also   []clientv3.Op // the caller's own
}

// asEnd is what all ends share: the row with its outcome, the output, the
// hint for those who wait, and the request, which is answered. The caller
// deletes the place.
func (t table) asEnd(next row, e ending, nonce string) (ops []clientv3.Op, written row, err error) {
	next.Outcome, next.Reason, next.Error = e.outcome, cut(e.reason), cut(e.err)
	next.Evidence, next.Request = e.evidence, e.request
	next.FinishedAt = e.at
	next.Due, next.What = time.Time{}, ""
	apart := next.setOutput(e.output)
	value, err := next.sealed(nonce)
	if err != nil {
		return nil, row{}, err
	}
	hint, err := encode(doneValue{Ended: []endedSeries{{ID: next.ID, Series: next.Series}}})
	if err != nil {
		return nil, row{}, fmt.Errorf("encode the hint of %s: %w", next.ID, err)
	}
	ops = []clientv3.Op{
		put(t.k.process(next.ID), value),
		put(t.k.done(next.Outcome, next.FinishedAt, nonce), string(hint)),
		remove(t.k.request(next.ID)),
	}
	if apart != nil {
		ops = append(ops, put(t.k.output(next.ID), string(apart)))
	}
	if !next.DeadlineAt.IsZero() {
		ops = append(ops, remove(t.k.deadline(next)))
	}
	if e.traces {
		// A range delete costs a tenth of a drain, so not without need.
		ops = append(ops, t.leftovers(next)...)
	}
	return ops, next, nil
}

// doneValue is a hint: these ids ended. Who reads it decides on the rows.
type doneValue struct {
	Ended []endedSeries `json:"ended"`
}

type endedSeries struct {
	ID     string `json:"id"`
	Series int    `json:"series"`
}

// wrote recognises the row that a transition wrote while it stands, and the
// end of a series also when the next one has been opened.
func (t table) wrote(written row) func(view) bool {
	return func(v view) bool {
		there, ok := v.row(t.k, written.ID)
		return ok && there.bears(written.Mark)
	}
}

// wroteAttempt recognises the end of an attempt, also once later attempts
// wrote over the row: by its history.
func (t table) wroteAttempt(written row) func(view) bool {
	return func(v view) bool {
		there, ok := v.row(t.k, written.ID)
		return ok && (there.bears(written.Mark) || there.remembers(written))
	}
}

func (r row) bears(mark string) bool { return r.Mark == mark || r.EndMark == mark }

// remembers says whether the attempt that written ended is in r's history in
// just that way. A claim that ended no attempt is in no history.
func (r row) remembers(written row) bool {
	n := len(written.History)
	if n == 0 || written.History[n-1].Fence != written.Fence {
		return false
	}
	mine := written.History[n-1]
	return slices.ContainsFunc(r.History, func(past PastAttempt) bool {
		return past.Fence == mine.Fence && past.EndedAt.Equal(mine.EndedAt) && past.Error == mine.Error
	})
}
