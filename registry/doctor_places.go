package registry

import (
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// waiting judges the places of a process that nobody holds.
func (j *judgement) waiting() {
	there := *j.p.row
	if request := j.p.view[j.t.k.request(j.p.id)]; request != nil && there.What != whereParked {
		q, _ := decodeRequest(request) // that somebody asked is what matters
		if !j.mayHaveStarted() || q.What != "" {
			j.endAs(string(request.Key), "a request that nobody would answer, as nobody holds the process", q.ending("", j.now))
			return
		}
	}
	switch len(j.p.places) {
	case 0:
		j.nowhere()
		return
	case 1:
	default: // a timer that has matured, or has not
		key, _ := j.due()
		for _, place := range j.p.places {
			if place != key {
				j.mend(place, "one of two places of a process", remove(place))
			}
		}
	}
	for _, stray := range j.p.strays {
		j.mend(string(stray.Key), "a place that does not follow from the row, beside one that does", remove(string(stray.Key)))
	}
}

// due is the place that a row says, by the clock: once its time has come that
// is pending.
func (j *judgement) due() (key string, place clientv3.Op) {
	there := *j.p.row
	if there.What != whereParked && !there.Due.After(j.now) {
		there.Due, there.What = time.Time{}, ""
	}
	place = j.t.wait(there)
	return string(place.KeyBytes()), place
}

// mayHaveStarted says of work that must not run twice whether it may be under
// way, or have been. It is known not to be if it stands somewhere as one that
// waits, or is not due yet.
func (j *judgement) mayHaveStarted() bool {
	return j.p.row.spec.Disposition == OwnerBound && j.p.row.What != whereParked &&
		len(j.p.places) == 0 && len(j.p.strays) == 0 && !j.p.row.Due.After(j.now)
}

// nowhere judges a process that is nowhere, or only where it should not be. It
// is put where its row says if no harm can come of that.
//
// The row is written with it, as it is: what is conditioned on the row can tell
// then. Else two who repair the same could both put the place, the second after
// the process was claimed from there.
func (j *judgement) nowhere() {
	key, place := j.due()
	if j.mayHaveStarted() {
		j.find(j.t.k.process(j.p.id), "a process without a place, which may have been started",
			"find out whether it ran, then abandon it and repair once more")
		return
	}
	ops := []clientv3.Op{}
	for _, stray := range j.p.strays {
		if string(stray.Key) != key {
			ops = append(ops, remove(string(stray.Key)))
		}
	}
	what, where := "a process without a place", j.t.k.process(j.p.id)
	if len(j.p.strays) > 0 {
		what, where = "a place that does not follow from the row", string(j.p.strays[0].Key)
	}
	row := j.p.view[j.t.k.process(j.p.id)]
	j.mend(where, what, append(ops, place, put(string(row.Key), string(row.Value)))...)
}

// endAs ends a process as was asked for.
func (j *judgement) endAs(key, what string, e ending) {
	nonce, err := newNonce()
	e.traces = true
	ops, _, err2 := j.t.asEnd(*j.p.row, e, nonce)
	if err := errors.Join(err, err2); err != nil {
		j.err = fmt.Errorf("end %s: %w", j.p.id, err)
		return
	}
	for _, place := range j.p.places {
		ops = append(ops, remove(place))
	}
	for _, stray := range j.p.strays {
		ops = append(ops, remove(string(stray.Key)))
	}
	j.mend(key, what, ops...)
}
