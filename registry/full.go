package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// fullValue stands in full, while etcd is nearly full: every start is
// conditioned on its absence.
type fullValue struct {
	Since time.Time `json:"since"`
	// Member is the one that was found full, in hexadecimal.
	Member string `json:"member,omitempty"`
	Size   int64  `json:"db_size"`
	InUse  int64  `json:"db_in_use"`
	Quota  int64  `json:"db_quota"`
}

// readFull is nothing of a value that nobody of ours wrote.
func readFull(kv *mvccpb.KeyValue) (v fullValue) {
	if kv == nil || json.Unmarshal(kv.Value, &v) != nil {
		return fullValue{}
	}
	return v
}

// refusal is ErrFull with what a person can do about it.
func (v fullValue) refusal() error {
	m := Member{Size: v.Size, InUse: v.InUse, Quota: v.Quota}
	switch {
	case v.Quota <= 0:
		return ErrFull
	case m.fills() >= roomyPercent:
		return fmt.Errorf("%w: its data fill %d %% of its quota; there is room again below %d %%: prune, or raise the quota", ErrFull, m.fills(), roomyPercent)
	default:
		return fmt.Errorf("%w: its file has reached its quota, though data fill only %d %% of it: defragment it", ErrFull, m.fills())
	}
}

// room is the condition of everything that takes more space and can wait. What
// ends a process, or goes on with it, is not to be stopped by a lack of it: that
// is what the space between full and the quota is for.
//
// It is absent in other words, by which [conditionOf] knows it.
func (t table) room() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(t.k.full()), "<", 1)
}

// markFull puts the mark, or puts it over the one that was read. A copy of the
// first that lands late, when it was cleared, is cleared again by the next who
// looks.
func (t table) markFull(seen int64, value string) transition {
	key := t.k.full()
	return transition{
		name: "mark that etcd is full", alone: true,
		when: []clientv3.Cmp{asRead(key, seen)}, then: []clientv3.Op{put(key, value)},
		applied: func(view) bool { return false },
	}
}

func (t table) clearFull(seen int64) transition {
	key := t.k.full()
	return transition{
		name: "clear that etcd is full", alone: true,
		when: []clientv3.Cmp{asRead(key, seen)}, then: []clientv3.Op{remove(key)},
		applied: func(view) bool { return false },
	}
}

// noRoomError tells how full it is, and not that somebody gave up, which he
// knows.
type noRoomError struct{ full, gaveUp error }

func (e *noRoomError) Error() string   { return e.full.Error() }
func (e *noRoomError) Unwrap() []error { return []error{e.full, e.gaveUp} }

// commitRoomy is commit for what is conditioned on room: it is repeated until
// there is some, or until otherwise says of what was read that it was refused
// for something else. When ctx ends first the error is [ErrFull], and
// [ErrUnresolved] too if a copy of it was not answered and so may land once
// there is room.
func (r *Registry) commitRoomy(ctx context.Context, tr transition, otherwise func(view) bool) (answer, error) {
	unsure := false
	for {
		a, err := r.commit(ctx, tr)
		if err != nil {
			return answer{}, err
		}
		full := a.view[r.keys.full()]
		if a.applied || full == nil || otherwise(a.view) {
			return a, nil
		}
		unsure = unsure || a.repeated
		r.room.close(full)
		switch err := r.room.wait(ctx, r); {
		case err != nil && unsure:
			return answer{}, fmt.Errorf("%w: %w", ErrUnresolved, err)
		case err != nil:
			return answer{}, err
		}
	}
}

// room is what this Registry knows of the mark. Those who were refused for it
// wait here together, so that their number is no matter to etcd.
type room struct {
	mu     sync.Mutex
	full   error         // nil while there is room, as far as is known
	opened chan struct{} // closed when there is again; nil while full is nil
	asked  time.Time     // when it was last looked whether there is

	revision int64     // of the mark as last seen
	changed  time.Time // when that was seen first
}

// askRoom is how long those who wait for room leave etcd alone between two
// looks, of which there is one at a time for all of them.
const askRoom = 500 * time.Millisecond

// desertedAfter is how long nobody has written a mark anew that nobody looks after:
// nodes do so twice a second, and of those who wait, one does then.
const desertedAfter = 2 * time.Second

// close notes the mark that was read.
func (m *room) close(kv *mvccpb.KeyValue) {
	v := readFull(kv) // whatever it says, it stands in the way
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full == nil {
		m.opened, m.asked = make(chan struct{}), time.Now()
	}
	m.full = v.refusal()
	if m.revision != kv.ModRevision {
		m.revision, m.changed = kv.ModRevision, time.Now()
	}
}

// deserted says whether the mark that was read last is so old that anybody may
// clear it, and nobody is at it.
func (m *room) deserted(kv *mvccpb.KeyValue, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return now.Sub(readFull(kv).Since) >= fullAnew && time.Since(m.changed) >= desertedAfter
}

func (m *room) open() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full != nil {
		close(m.opened)
		m.full = nil
	}
}

// wait returns at once while there is room, else when there is again. Of those
// who wait, the one who comes first after a while looks for all.
func (m *room) wait(ctx context.Context, r *Registry) error {
	for {
		m.mu.Lock()
		full, opened, mine := m.full, m.opened, false
		if full != nil && time.Since(m.asked) >= askRoom {
			m.asked, mine = time.Now(), true
		}
		m.mu.Unlock()
		if full == nil {
			return nil
		}
		if mine {
			m.look(ctx, r)
			continue
		}
		timer := time.NewTimer(askRoom)
		select {
		case <-opened:
		case <-timer.C:
		case <-r.closed:
			timer.Stop()
			return ErrClosed
		case <-ctx.Done():
			timer.Stop()
			return &noRoomError{full, context.Cause(ctx)}
		}
		timer.Stop()
	}
}

// look asks whether the mark still stands, and whether it should. That it can't be found out is not
// told: it is asked again.
func (m *room) look(ctx context.Context, r *Registry) {
	resp, err := r.read(ctx, get(r.keys.full()))
	if err != nil {
		return
	}
	kv := newView(resp.Responses)[r.keys.full()]
	if kv == nil {
		m.open()
		return
	}
	m.close(kv)
	if !m.deserted(kv, r.now()) {
		return
	}
	// Where no node lives, nobody else would find that there is room again.
	if s, err := r.CheckSpace(ctx); err == nil && !s.Full {
		m.open()
	}
}
