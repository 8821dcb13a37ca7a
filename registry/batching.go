package registry

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// requests is how many are in flight at the most.
	requests = 8
	// enough is how many transitions must wait for a second request to be
	// sent beside one that is in flight. Fewer do better to wait for it:
	// what a request costs etcd hardly depends on what it holds.
	enough = 32
	// defaultPatience is how long fewer wait. A request that got lost would
	// else hold them up until it times out.
	defaultPatience = 100 * time.Millisecond
)

// errApart says that nothing was done of a batch, and that it says nothing of
// its members: a condition that they share does not hold, or etcd refused the
// request, perhaps for what one of them holds. Each is to be sent alone.
var errApart = errors.New("not done in a batch")

// batching gathers transitions into requests. What arrives while a request is
// in flight travels in the next one; on an idle registry a transition is sent
// at once.
type batching struct {
	send   func(when []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error)
	cancel context.CancelFunc // what send is doing
	// patience is how long a member waits before it asks for a request of its
	// own beside those in flight.
	patience time.Duration

	failing atomic.Pointer[error] // why the latest request was not answered; nil if it was

	mu       sync.Mutex
	waiting  []*member // in the order of arrival
	inFlight int       // senders at work
	stopped  bool
	senders  sync.WaitGroup
}

// newBatching sends through the client. A request is bounded by the timeout
// alone: a member that gives up must not take the others with it.
func newBatching(client *clientv3.Client, timeout time.Duration) *batching {
	ctx, cancel := context.WithCancel(context.Background())
	return &batching{
		cancel: cancel, patience: defaultPatience,
		send: func(when []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
			request, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return client.Txn(request).If(when...).Then(then...).Else(otherwise...).Commit()
		},
	}
}

// stop ends the requests in flight as unanswered. What waits is not sent any
// more. It returns when the senders have ended.
func (b *batching) stop() {
	b.mu.Lock()
	for _, m := range b.waiting {
		m.answered <- stoppedReply
	}
	b.waiting, b.stopped = nil, true
	b.mu.Unlock()
	b.cancel()
	b.senders.Wait()
}

// stoppedReply is not definite, so that it is the Registry that says why.
var stoppedReply = reply{err: context.Canceled}

// join takes m along with the next request. Its reply comes on m.answered, in
// every case.
func (b *batching) join(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		m.answered <- stoppedReply
		return
	}
	b.waiting = append(b.waiting, m)
	if b.inFlight == 0 || len(b.waiting) >= enough {
		b.dispatch()
	}
}

// hurry is for a member that has waited for long enough.
func (b *batching) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dispatch()
}

// leave is for a member that gives up. If it was not sent yet it will not be.
func (b *batching) leave(m *member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.left = true
}

// dispatch starts a sender if somebody waits for one. The caller holds mu.
func (b *batching) dispatch() {
	if len(b.waiting) > 0 && b.inFlight < requests {
		b.inFlight++
		b.senders.Go(b.run)
	}
}

// run sends until nothing waits.
func (b *batching) run() {
	for {
		// Whoever is about to arrive travels along: those who were just
		// answered, or started together. Without it batches stay small.
		runtime.Gosched()
		next := b.take()
		if len(next.members) == 0 {
			return
		}
		resp, err := b.send(next.request())
		b.note(err)
		next.deliver(resp, err)
	}
}

// note keeps why a request was not answered.
func (b *batching) note(err error) {
	if err == nil || definite(err) {
		b.failing.Store(nil)
	} else {
		b.failing.Store(&err)
	}
}

// take makes the next batch of what waits, in the order of arrival. What it
// can't hold, as another transition of the same process, waits for the one
// after it. If nothing waits the sender's time is over.
func (b *batching) take() *batch {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := &batch{}
	b.waiting = slices.DeleteFunc(b.waiting, func(m *member) bool { return m.left || next.add(m) })
	if len(next.members) == 0 {
		b.inFlight--
	}
	return next
}
