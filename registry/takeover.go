package registry

import (
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// fate is what becomes of an orphan.
type fate int

const (
	fateGoOn fate = iota // it is run again, here or elsewhere
	fateEnd
	fateStay // nobody may touch it
)

// takeOver is the verdict on an orphan, with the row that follows from it. It
// is a pure function of what was read. An adoption counts as the death of a
// node, unless there is no proof of it and the session was lost in an outage.
func (t table) takeOver(o Orphan, there row, request *mvccpb.KeyValue, now time.Time) (next row, e ending, f fate) {
	next = there
	why := o.loss()
	next.endAttempt(o.node, o.revision, o.value.ClaimedAt, now, why)
	var q *Request
	what := ""
	if request != nil {
		q, _ = decodeRequest(request) // that somebody asked is all that matters
		what = q.What
	}
	owned := there.spec.Disposition == OwnerBound
	switch {
	case what == RequestAbandon || what == RequestDeadline || q != nil && !owned:
		return next, q.ending(why, now), fateEnd
	case next.overdue(now):
		return next, Request{What: RequestDeadline}.ending(why, now), fateEnd
	case owned && !o.Proved():
		return next, ending{}, fateStay
	case owned:
		return next, ending{outcome: Abandoned, reason: EvidenceDeath, err: why, at: now, evidence: &o.proof}, fateEnd
	}
	if why == SessionLost {
		next.Adoptions++
	}
	if limit := there.spec.adoptionLimit(); limit > 0 && next.Adoptions >= limit {
		return next, ending{outcome: Failed, reason: reasonQuarantine, err: why, at: now}, fateEnd
	}
	next.Due, next.What = time.Time{}, "" // it waits for no time
	return next, ending{}, fateGoOn
}
