package registry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"

	"github.com/drover-run/drover/lease/etcdtest"
)

// meter is a client that counts what it asks etcd for.
type meter struct {
	reads, watches atomic.Int64
	// before is called before a watch is asked for; it may be nil.
	before func()
}

func (m *meter) client(t *testing.T) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: etcdtest.Client(t).Endpoints(), Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(m.unary), grpc.WithChainStreamInterceptor(m.stream),
		},
	})
	noErr(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (m *meter) unary(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if txn, ok := req.(*etcdserverpb.TxnRequest); ok && len(txn.Compare) == 0 {
		m.reads.Add(1)
	}
	return invoke(ctx, method, req, reply, conn, opts...)
}

func (m *meter) stream(ctx context.Context, desc *grpc.StreamDesc, conn *grpc.ClientConn, method string,
	open grpc.Streamer, opts ...grpc.CallOption,
) (grpc.ClientStream, error) {
	s, err := open(ctx, desc, conn, method, opts...)
	return &meteredStream{s, m}, err
}

type meteredStream struct {
	grpc.ClientStream
	m *meter
}

func (s *meteredStream) SendMsg(msg any) error {
	if req, ok := msg.(*etcdserverpb.WatchRequest); ok && req.GetCreateRequest() != nil {
		s.m.watches.Add(1)
		if s.m.before != nil {
			s.m.before()
		}
	}
	return s.ClientStream.SendMsg(msg)
}

func TestTenThousandWaitersShareOneWatchAndTheirReads(t *testing.T) {
	const processes, each = 250, 40
	var m meter
	r := registryOn(t, m.client(t), Options{RequestTimeout: time.Minute})
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace, RequestTimeout: time.Minute})
	specs := make([]Spec, processes)
	var ids []string
	for i := range specs {
		specs[i] = Spec{ID: fmt.Sprint("p", i), Kind: "k", Disposition: Rerunnable}
		for range each {
			ids = append(ids, specs[i].ID)
		}
	}
	for _, res := range other.StartMany(t.Context(), specs, StartManyOptions{}) {
		noErr(t, res.Err)
	}
	m.reads.Store(0)
	done := waitFor(t, r, ids...)
	if n := m.reads.Load(); n > processes/4 {
		t.Errorf("%d requests read %d rows for %d waiters", n, processes, len(ids))
	}
	m.reads.Store(0)
	var ending sync.WaitGroup
	for i := range 16 {
		ending.Go(func() {
			for j := i; j < processes; j += 16 {
				if _, err := other.Cancel(t.Context(), specs[j].ID, Request{}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	ending.Wait()
	for range ids {
		if w := <-done; w.err != nil || w.p.Status != StatusCancelled {
			t.Fatalf("%s, %v", w.p.Status, w.err)
		}
	}
	if reads, watches := m.reads.Load(), m.watches.Load(); reads > processes || watches != 1 {
		t.Errorf("%d watches, and %d requests read %d ends", watches, reads, processes)
	}
}

// What ends between the first read and the watch is not missed: the watch
// starts where the read was.
func TestAnEndBeforeTheWatchStandsIsNotMissed(t *testing.T) {
	m := meter{}
	client := m.client(t)
	r := registryOn(t, client, Options{})
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	start(t, other, "p")
	m.before = func() {
		_, err := other.Cancel(t.Context(), "p", Request{})
		noErr(t, err)
	}
	p, err := r.Wait(t.Context(), "p")
	if err != nil || p.Status != StatusCancelled {
		t.Errorf("told %s, %v", p.Status, err)
	}
}

// hold keeps the next read of r back until what happens meanwhile has happened.
func hold(wire *wire, meanwhile func()) {
	wire.next(func(send func() error) error {
		meanwhile()
		return send()
	})
}

func TestWaitersGetTheEndOfTheSeriesThatTheyWaitFor(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	start(t, other, "p")
	done := waitFor(t, r, "p", "p", "p")
	// The hint's row is read when the process has been opened and ended again.
	hold(wire, func() {
		_, err := other.Reopen(t.Context(), "p")
		noErr(t, err)
		_, err = other.Cancel(t.Context(), "p", Request{Reason: "the second"})
		noErr(t, err)
	})
	_, err := other.Cancel(t.Context(), "p", Request{Reason: "the first"})
	noErr(t, err)
	for range 3 {
		if w := <-done; w.err != nil || w.p.Series != 1 || w.p.OutcomeReason != "the first" {
			t.Errorf("told of series %d, %s, %v", w.p.Series, w.p.OutcomeReason, w.err)
		}
	}
	if p, err := r.Wait(t.Context(), "p"); err != nil || p.Series != 2 {
		t.Errorf("who asks then is told of series %d, %v", p.Series, err)
	}
}

// The first read is answered late: meanwhile the series has ended, so it is by
// the hint that the waiter learns of it, and another began.
func TestAnEndDuringTheFirstReadIsNotMissed(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	start(t, other, "p")
	start(t, other, "q")
	waiting := waitFor(t, r, "q") // so that a watch stands
	wire.next(func(send func() error) error {
		err := send()
		_, failed := other.Cancel(t.Context(), "p", Request{})
		noErr(t, failed)
		_, failed = other.Reopen(t.Context(), "p")
		noErr(t, failed)
		eventually(t, "the hint has come", func() bool {
			r.waiting.mu.Lock()
			defer r.waiting.mu.Unlock()
			return len(r.waiting.desk.ids["p"].hints) == 1
		})
		return err
	})
	p, err := r.Wait(t.Context(), "p")
	if err != nil || p.Series != 1 || p.Status != StatusCancelled {
		t.Errorf("told of series %d, %s, %v", p.Series, p.Status, err)
	}
	_, err = other.Cancel(t.Context(), "q", Request{})
	noErr(t, err)
	noErr(t, (<-waiting).err)
}

// A read that somebody else asked for does not serve who waits already: it may
// be of after his time.
func TestWhoWaitsIsNotToldOfAfterwards(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	start(t, other, "p")
	done := waitFor(t, r, "p")
	hold(wire, func() {
		_, err := other.Cancel(t.Context(), "p", Request{})
		noErr(t, err)
		_, err = other.Reopen(t.Context(), "p")
		noErr(t, err)
		_, err = other.Cancel(t.Context(), "p", Request{})
		noErr(t, err)
	})
	second, err := r.Wait(t.Context(), "p")
	noErr(t, err)
	first := <-done
	if first.err != nil || first.p.Series != 1 || second.Series != 2 {
		t.Errorf("told of series %d and %d, %v", first.p.Series, second.Series, first.err)
	}
}

// Who comes while a read is under way is not served by it: it may be of before
// his time.
func TestWhoComesLaterIsNotToldOfBefore(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	other := registryOn(t, etcdtest.Client(t), Options{Namespace: r.options.Namespace})
	cancelled(t, other, "p")
	later := make(chan waited, 1)
	wire.next(func(send func() error) error {
		err := send() // it has read the end of the first series
		_, failed := other.Reopen(t.Context(), "p")
		noErr(t, failed)
		w := r.waiting.join("p")
		go func() {
			defer r.waiting.leave(w)
			a := <-w.told
			later <- waited{a.process, a.err}
		}()
		return err
	})
	first, err := r.Wait(t.Context(), "p")
	noErr(t, err)
	_, err = other.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	second := <-later
	if first.Series != 1 || second.err != nil || second.p.Series != 2 {
		t.Errorf("told of series %d and %d, %v", first.Series, second.p.Series, second.err)
	}
}

func TestAHintThatIsCompactedLeavesTheRowAsItIs(t *testing.T) {
	server := etcdtest.New(t)
	w := &wire{}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: server.Client(t).Endpoints(), Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(w.intercept)},
	})
	noErr(t, err)
	t.Cleanup(func() { _ = c.Close() })
	r := registryOn(t, c, Options{})
	other := registryOn(t, server.Client(t), Options{Namespace: r.options.Namespace})
	start(t, other, "p", input(`"`+strings.Repeat("x", 5000)+`"`))
	done := waitFor(t, r, "p")
	hold(w, func() {
		_, err := other.Reopen(t.Context(), "p")
		noErr(t, err)
		compactAll(t, other.client)
	})
	_, err = other.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	eventually(t, "it waits for the second series", func() bool {
		r.waiting.mu.Lock()
		defer r.waiting.mu.Unlock()
		for waiter := range r.waiting.desk.ids["p"].waiters {
			return waiter.series == 2
		}
		return false
	})
	_, err = other.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	if w := <-done; w.err != nil || w.p.Series != 2 || len(w.p.Input) != 5002 {
		t.Errorf("told of series %d, %d bytes, %v", w.p.Series, len(w.p.Input), w.err)
	}
	compactAll(t, other.client)
	if p, err := r.Wait(t.Context(), "p"); err != nil || len(p.Input) != 5002 {
		t.Errorf("told of %d bytes, %v", len(p.Input), err)
	}
}

func TestWaitForSomethingThatIsPruned(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	done := waitFor(t, r, "p", "p")
	_, err := r.Cancel(t.Context(), "p", Request{})
	noErr(t, err)
	_, err = r.Prune(t.Context(), PruneOptions{Before: time.Now().Add(time.Hour)})
	noErr(t, err)
	for range 2 { // they are told all the same, by the hint's revision
		if w := <-done; w.err != nil || w.p.Status != StatusCancelled {
			t.Errorf("told %s, %v", w.p.Status, w.err)
		}
	}
	_, err = r.Wait(t.Context(), "p")
	wantErr(t, err, ErrNotFound)
}
