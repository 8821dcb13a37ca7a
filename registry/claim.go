package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Entry is a process that may be claimed now, as a list saw it.
type Entry struct {
	ID       string
	Queue    string
	Kind     string
	Priority int
	Seq      int64 // the order of start within a priority

	revision int64 // of the pending key
	matured  bool  // it was put there when its time had come
	returned bool  // it was put back there by whoever could not read its row
	common   bool  // it was put back there by whoever had no room for it
	gate     int64 // ModRevision of queue/<Queue>, 0 if there is none
}

// Claim is the exclusive right to run one process, held under a session. It
// is worth nothing once that session has ended: every write through it is
// conditioned on both and is refused with [ErrClaimLost] then.
type Claim struct {
	ID        string
	Kind      string
	Queue     string
	Attempt   int   // the number of the attempt that it is for
	Fence     int64 // the revision of the claim; grows with every claim of this id
	ClaimedAt time.Time
	Input     json.RawMessage
	// Session is the one that it is held under.
	Session *Session

	row     row
	nonce   string
	entered bool
	log     string
	written written
}

// Enter is to be called before the handler is. A claim that was never entered
// is no attempt: giving it back, or ending it, counts as nothing.
func (c *Claim) Enter() { c.entered = true }

// SetLog says where the whole of what the attempt writes is kept, for the
// history. It is to be called before the attempt ends.
func (c *Claim) SetLog(where string) { c.log = cut(where) }

// attempted is the row with the attempt under this claim counted.
func (c *Claim) attempted(ended time.Time, why string) row {
	next := c.row
	if c.entered {
		next.endAttempt(c.Session.Node(), c.Fence, c.ClaimedAt, ended, why)
		next.History[len(next.History)-1].Log = c.log
	} else {
		next.Fence = c.Fence
	}
	return next
}

// Series counts how often the process was opened: 1, and one more for each
// [Registry.Reopen].
func (c *Claim) Series() int { return c.row.Series }

// Errors is how many errors earlier attempts of the series ended in.
func (c *Claim) Errors() int { return c.row.Errors }

// Disposition is what recovery may do to the process.
func (c *Claim) Disposition() Disposition { return c.row.spec.Disposition }

// Labels are those of the process. They must not be changed.
func (c *Claim) Labels() map[string]string { return c.row.spec.Labels }

// AttemptTimeout limits the attempt; zero if nothing does.
func (c *Claim) AttemptTimeout() time.Duration { return time.Duration(c.row.spec.AttemptTimeout) }

// MaxAttempts is how many errors make the process failed, as its start says;
// zero if that leaves it to the kind.
func (c *Claim) MaxAttempts() int { return c.row.spec.MaxAttempts }

// Backoff is the delay before the first retry, as its start says; zero if that
// leaves it to the kind. With constant, it is that before each.
func (c *Claim) Backoff() (d time.Duration, constant bool) {
	return time.Duration(c.row.spec.Backoff), c.row.spec.BackoffPolicy == BackoffConstant
}

// claimValue is what stands in claim/<sid>/<id>. Counters stand in the row,
// so that a claim needs no read before it.
type claimValue struct {
	Queue     string    `json:"queue"`
	Kind      string    `json:"kind"`
	ClaimedAt time.Time `json:"claimed_at"`
	Nonce     string    `json:"nonce"`
}

// Claim takes the entry under the session. [ErrNotClaimable] means that
// somebody else was first, or that the session is over. A [*CorruptError]
// means that what stands under the id can't be run: the claim was given back.
func (r *Registry) Claim(ctx context.Context, s *Session, e Entry) (c *Claim, err error) {
	r.ClaimAll(ctx, s, []Entry{e}, func(_ int, got *Claim, failed error) { c, err = got, failed })
	return c, err
}

// ClaimAll is Claim of many at once. It tells of the i-th by done, which is
// called once for each, and by several goroutines, and returns when all are
// done.
func (r *Registry) ClaimAll(ctx context.Context, s *Session, entries []Entry, done func(i int, c *Claim, err error)) {
	h, values := s.holder(), make([]claimValue, len(entries))
	all := make([]*transition, len(entries))
	for i, e := range entries {
		nonce, err := newNonce()
		values[i] = claimValue{Queue: e.Queue, Kind: e.Kind, ClaimedAt: r.now(), Nonce: nonce}
		var tr transition
		if err == nil {
			tr, err = r.table.claim(h, e, values[i])
		}
		if err != nil {
			done(i, nil, err)
			continue
		}
		s.expect(nonce)
		all[i] = &tr
	}
	var apart sync.WaitGroup
	r.commitAll(ctx, all, func(i int, a answer, err error) {
		e := entries[i]
		c, fence, err := r.concludeClaim(s, e, values[i], a, err)
		if fence == 0 {
			done(i, c, err)
			return
		}
		// The others are not to wait until etcd has answered once more.
		apart.Go(func() {
			// A place that is none of drover's stays one.
			e.returned = e.returned || !errors.Is(err, errAstray)
			done(i, nil, errors.Join(err, r.unclaim(ctx, s, e, fence)))
		})
	})
	apart.Wait()
}

// concludeClaim makes the claim of what was answered. If that can't be run, the
// claim has the fence that is returned, and is to be put back.
func (r *Registry) concludeClaim(s *Session, e Entry, value claimValue, a answer, err error) (c *Claim, fence int64, _ error) {
	if err != nil || !a.applied {
		s.forget(value.Nonce)
		return nil, 0, fmt.Errorf("claim %s: %w", e.ID, cmpError(err, r.table.unclaimable(s, e, a.view)))
	}
	fence = a.written(r.keys.claim(s.ID(), e.ID))
	c, err = r.table.claimed(s, e, value, a.view, fence)
	if err != nil {
		s.forget(value.Nonce)
		return nil, fence, fmt.Errorf("claim %s: %w", e.ID, err)
	}
	return c, 0, nil
}

// claim exchanges pending for a claim and reads row and input with it: what
// the attempt is to be is decided on what stood there then, not on the list.
func (t table) claim(h holder, e Entry, value claimValue) (transition, error) {
	content, err := encode(value)
	if err != nil {
		return transition{}, fmt.Errorf("encode the claim of %s: %w", e.ID, err)
	}
	pending, key := t.k.pending(e), t.k.claim(h.sid, e.ID)
	reads := []clientv3.Op{get(t.k.process(e.ID)), get(t.k.input(e.ID))}
	return transition{
		name: "claim " + e.ID, id: e.ID, idle: true,
		when: append([]clientv3.Cmp{
			asRead(pending, e.revision), asRead(t.k.queue(e.Queue), e.gate), absent(key),
		}, h.alive...),
		then:      append([]clientv3.Op{remove(pending), put(key, string(content))}, reads...),
		otherwise: append(reads, get(key), get(pending)),
		applied:   func(v view) bool { return hasNonce(v[key], value.Nonce) },
	}, nil
}

// unclaimable is why a claim was refused. A pending key beside a claim is none
// of drover's.
func (t table) unclaimable(s *Session, e Entry, v view) error {
	pending := t.k.pending(e)
	if v[t.k.claim(s.ID(), e.ID)] != nil && v.modRevision(pending) == e.revision {
		return &CorruptError{Key: pending, Why: errors.New("the process is claimed")}
	}
	return ErrNotClaimable
}

func decodeClaim(kv *mvccpb.KeyValue) (claimValue, error) {
	var value claimValue
	if err := json.Unmarshal(kv.Value, &value); err != nil {
		return claimValue{}, &CorruptError{Key: string(kv.Key), Why: err}
	}
	return value, nil
}

func hasNonce(kv *mvccpb.KeyValue, nonce string) bool {
	if kv == nil {
		return false
	}
	there, err := decodeClaim(kv)
	return err == nil && there.Nonce == nonce
}

// errAstray is why a place is not run from that somebody put by hand.
var errAstray = errors.New("it does not follow from the row")

// claimed makes the Claim out of what its transaction read.
func (t table) claimed(s *Session, e Entry, value claimValue, v view, fence int64) (*Claim, error) {
	key := t.k.process(e.ID)
	kv := v[key]
	if kv == nil {
		return nil, &CorruptError{Key: t.k.pending(e), Why: errors.New("there is no row for it")}
	}
	there, err := decodeRow(key, e.ID, kv.Value)
	if err != nil {
		return nil, err
	}
	if there.ended() {
		return nil, &CorruptError{Key: t.k.pending(e), Why: errors.New("the process has ended")}
	}
	if there.What == whereParked {
		return nil, &CorruptError{Key: t.k.pending(e), Why: errors.New("the process is done by somebody outside")}
	}
	// A second place, put by hand: in the other one it would be run too. Whatever
	// of drover's makes a process pending writes its row in the same
	// transaction, but for those that say so in the key.
	byHand := e.revision != 0 && e.revision != kv.ModRevision && !e.matured && !e.returned
	if byHand || t.k.pending(there.entry()) != t.k.pending(e) || e.matured != (there.What != "") {
		return nil, &CorruptError{Key: t.k.pending(e), Why: errAstray}
	}
	return t.holding(s, there, value, v, fence)
}

// holding makes the Claim of a row that is known to be as it must be.
func (t table) holding(s *Session, there row, value claimValue, v view, fence int64) (*Claim, error) {
	input := there.spec.Input
	if there.spec.InputBytes > 0 {
		stored := v[t.k.input(there.ID)]
		if stored == nil || len(stored.Value) != there.spec.InputBytes {
			return nil, &CorruptError{Key: t.k.input(there.ID), Why: errors.New("it is not the input that the row speaks of")}
		}
		input = stored.Value
	}
	return &Claim{
		ID: there.ID, Kind: there.spec.Kind, Queue: there.spec.Queue, Attempt: there.Attempt + 1,
		Fence: fence, ClaimedAt: value.ClaimedAt, Input: input,
		Session: s, row: there, nonce: value.Nonce,
	}, nil
}

// unclaim puts back what can't be run, without touching the row that it does
// not understand.
func (r *Registry) unclaim(ctx context.Context, s *Session, e Entry, fence int64) error {
	_, err := r.commit(ctx, r.table.unclaim(s.holder(), e, fence))
	if err != nil {
		return fmt.Errorf("put %s back: %w", e.ID, err)
	}
	return nil
}

func (t table) unclaim(h holder, e Entry, fence int64) transition {
	key, pending := t.k.claim(h.sid, e.ID), t.k.pending(e)
	return transition{
		name:      "unclaim " + e.ID,
		id:        e.ID,
		when:      append(t.held(h, e.ID, fence), absent(t.k.request(e.ID))),
		then:      []clientv3.Op{remove(key), put(pending, e.value())},
		otherwise: []clientv3.Op{get(key)},
		applied:   func(v view) bool { return v.modRevision(key) != fence },
	}
}
