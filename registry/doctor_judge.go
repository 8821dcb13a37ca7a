package registry

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// judge says what is wrong with a process, and how it is put right where that
// needs no guess.
func (c *checkup) judge(p patient) ([]diagnosis, error) {
	j := judgement{t: c.r.table, p: p, now: c.r.now()}
	switch {
	case p.why != nil:
		why := p.why
		if corrupt := (*CorruptError)(nil); errors.As(why, &corrupt) {
			why = corrupt.Why
		}
		j.find(j.t.k.process(p.id), fmt.Sprintf("a row that can't be read: %v", why),
			"use the drover that wrote it, or put right what was written by hand; nothing of it is touched until then")
	case p.row == nil:
		j.absent()
	case p.row.ended():
		j.ended()
	default:
		j.open()
	}
	return j.all, j.err
}

// judgement is one patient being judged. It is a pure function of what was
// read.
type judgement struct {
	t   table
	p   patient
	now time.Time
	all []diagnosis
	err error
}

func (j *judgement) find(key, what, advice string) {
	j.all = append(j.all, diagnosis{Finding: Finding{Key: key, What: what, Advice: advice}})
}

// mend finds something that ops put right.
func (j *judgement) mend(key, what string, ops ...clientv3.Op) {
	read, done := outcomeOf(ops)
	j.all = append(j.all, diagnosis{
		Finding: Finding{Key: key, What: what},
		repair: &transition{
			name: "repair " + j.p.id, id: j.p.id,
			when: j.p.asRead(), then: ops, otherwise: read,
			applied: done,
		},
	})
}

// outcomeOf reads what is as it is after these operations, and recognises it.
// That it is so is all that anybody wanted, whoever did it.
func outcomeOf(ops []clientv3.Op) (read []clientv3.Op, done func(view) bool) {
	for _, op := range ops {
		read = append(read, clientv3.OpGet(string(op.KeyBytes()), clientv3.WithRange(string(op.RangeBytes())), clientv3.WithLimit(1)))
	}
	return read, func(v view) bool {
		for _, op := range ops {
			kv := v.first(string(op.KeyBytes()), string(op.RangeBytes()))
			if op.IsPut() != (kv != nil) || kv != nil && !bytes.Equal(kv.Value, op.ValueBytes()) {
				return false
			}
		}
		return true
	}
}

// area is the part of the layout that a key is in.
func (j *judgement) area(key string) string {
	area, _, _ := strings.Cut(strings.TrimPrefix(key, j.t.k.root), "/")
	return area
}

// absent: nothing may stand under an id without a row, but for the claim of a
// living node, whose attempt writes the row again when it ends.
func (j *judgement) absent() {
	for _, key := range slices.Sorted(maps.Keys(j.p.view)) {
		switch area := j.area(key); {
		case area == "step": // all together, below
		case area == "claim" && j.p.living[j.p.holder(j.t.k, j.p.view[key])]:
			j.find(key, "a claim without a row, whose holder lives", "wait for its attempt to end, or stop its node")
		default:
			j.mend(key, "what stands under "+area+"/ without a row", remove(key))
		}
	}
	if j.p.steps != nil {
		j.mend(string(j.p.steps.Key), "steps without a row", clientv3.OpDelete(j.t.k.steps(j.p.id), clientv3.WithPrefix()))
	}
}

// ended: only row, input, output and the hint may stand.
func (j *judgement) ended() {
	for _, key := range slices.Sorted(maps.Keys(j.p.view)) {
		switch area := j.area(key); area {
		case "process", "input", "output", "step":
		default:
			j.mend(key, "what stands under "+area+"/ of a process that has ended", remove(key))
		}
	}
	if j.p.steps != nil {
		j.mend(string(j.p.steps.Key), "steps of a process that has ended",
			clientv3.OpDelete(j.t.k.steps(j.p.id), clientv3.WithPrefix()))
	}
	if !j.p.hinted {
		there := *j.p.row
		nonce, err := newNonce()
		value, err2 := encode(doneValue{Ended: []endedSeries{{ID: there.ID, Series: there.Series}}})
		j.err = errors.Join(j.err, err, err2)
		j.mend(j.t.k.process(j.p.id), "a process that has ended without a hint, so it would never be pruned",
			put(j.t.k.done(there.Outcome, there.FinishedAt, nonce), string(value)))
	}
	j.beside()
}

// beside judges input and output.
func (j *judgement) beside() {
	there := *j.p.row
	for _, b := range []struct {
		what, key string
		size      int
		advice    string
	}{
		{"input", j.t.k.input(j.p.id), there.spec.InputBytes, "cancel the process and start it again under another id"},
		{"output", j.t.k.output(j.p.id), there.OutputSize, "it is lost, the outcome stands"},
	} {
		kv := j.p.view[b.key]
		switch {
		case b.size == 0 && kv != nil:
			j.mend(b.key, fmt.Sprintf("an %s that is not the row's", b.what), remove(b.key))
		case b.size > 0 && kv == nil:
			j.find(j.t.k.process(j.p.id), fmt.Sprintf("a row whose %s is gone", b.what), b.advice)
		case kv != nil && len(kv.Value) != b.size:
			j.find(b.key, fmt.Sprintf("an %s of %d bytes, the row speaks of %d", b.what, len(kv.Value), b.size), b.advice)
		}
	}
}

func (j *judgement) open() {
	j.beside()
	j.deadlines()
	switch len(j.p.claims) {
	case 0:
		j.waiting()
	case 1:
		j.claimed(j.p.claims[0])
	default:
		for _, claim := range j.p.claims {
			j.find(string(claim.Key), "one of several claims on a process",
				"stop the nodes that hold them; once their sessions are over, delete all but the newest with etcdctl")
		}
	}
}

// deadlines judges the timer of the deadline. While a request stands none is
// needed.
func (j *judgement) deadlines() {
	there, mine := *j.p.row, ""
	if !there.DeadlineAt.IsZero() {
		mine = j.t.k.deadline(there)
	}
	for _, key := range slices.Sorted(maps.Keys(j.p.view)) {
		if _, _, what, ok := j.t.k.parseTimer(key); ok && what == dueDeadline && key != mine {
			j.mend(key, "a deadline that is not the row's", remove(key))
		}
	}
	if mine != "" && j.p.view[mine] == nil && j.p.view[j.t.k.request(j.p.id)] == nil {
		j.mend(j.t.k.process(j.p.id), "a deadline without its timer", put(mine, j.t.k.pending(there.entry())))
	}
}

// claimed judges a process that is held once.
func (j *judgement) claimed(claim *mvccpb.KeyValue) {
	key, sid := string(claim.Key), j.p.holder(j.t.k, claim)
	value, err := decodeClaim(claim)
	switch {
	case err != nil:
		j.find(key, "a claim that can't be read, so nobody could take it over",
			"let its attempt end; if its node is gone, delete the key with etcdctl and repair once more")
	case value.Queue != j.p.row.spec.Queue || value.Kind != j.p.row.spec.Kind:
		j.find(key, "a claim of another queue or kind than the row's", "let its attempt end")
	}
	if !j.p.known[sid] {
		tr, err := j.t.enroll(sid, "", asRead(key, claim.ModRevision))
		j.err = errors.Join(j.err, err)
		j.all = append(j.all, diagnosis{
			Finding: Finding{Key: key, What: "a claim of a session that is not in the roster, so nobody would take it over"}, repair: &tr,
		})
	}
	for _, place := range j.p.places {
		j.mend(place, "a place of a process that is also claimed", remove(place))
	}
	for _, stray := range j.p.strays {
		j.mend(string(stray.Key), "a place of a process that is also claimed", remove(string(stray.Key)))
	}
}
