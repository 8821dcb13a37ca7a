package registry

import (
	"context"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/drover-run/drover/lease/etcdtest"
)

// wire stands between a client and a real etcd, and does to transactions what
// networks do: it loses answers, sends twice, and delivers late.
type wire struct {
	client *clientv3.Client

	mu     sync.Mutex
	acts   []act // for the next transactions, one each
	writes []act // for the next that are transitions
	server []func(*etcdserverpb.TxnRequest, *etcdserverpb.TxnResponse)
}

// act handles one transaction. send delivers it to etcd and fills the answer
// in; it may be called any number of times.
type act func(send func() error) error

func newWire(t *testing.T) *wire {
	t.Helper()
	w := &wire{}
	c, err := clientv3.New(clientv3.Config{
		Endpoints: etcdtest.Client(t).Endpoints(), Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithChainUnaryInterceptor(w.intercept)},
	})
	noErr(t, err)
	t.Cleanup(func() { _ = c.Close() })
	w.client = c
	return w
}

func (w *wire) registry(t *testing.T) *Registry {
	t.Helper()
	return registryOn(t, w.client, Options{})
}

// next says how the next transactions fare, one act each.
func (w *wire) next(acts ...act) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acts = append(w.acts, acts...)
}

// saw calls f with every transaction that was answered.
func (w *wire) saw(f func(*etcdserverpb.TxnRequest, *etcdserverpb.TxnResponse)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.server = append(w.server, f)
}

func (w *wire) intercept(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn,
	invoke grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	txn, is := req.(*etcdserverpb.TxnRequest)
	if !is {
		return invoke(ctx, method, req, reply, conn, opts...)
	}
	// A copy that is late outlives the request that it is a copy of, and has
	// nothing of it: not its context, nor what is written once it is answered.
	opts = slices.DeleteFunc(slices.Clone(opts), func(o grpc.CallOption) bool {
		_, told := o.(grpc.PeerCallOption)
		return told
	})
	var mu sync.Mutex
	over := false
	send := func() error {
		answer := &etcdserverpb.TxnResponse{}
		err := invoke(context.WithoutCancel(ctx), method, req, answer, conn, opts...)
		mu.Lock()
		defer mu.Unlock()
		if into := reply.(*etcdserverpb.TxnResponse); err == nil && !over {
			proto.Reset(into)
			proto.Merge(into, answer)
		}
		return err
	}
	err := w.take(isWrite(txn))(send)
	mu.Lock()
	over = true
	mu.Unlock()
	w.mu.Lock()
	watching := w.server
	w.mu.Unlock()
	for _, f := range watching {
		if err == nil {
			f(txn, reply.(*etcdserverpb.TxnResponse))
		}
	}
	return err
}

// isWrite says whether it is a transition, or several in a batch.
func isWrite(txn *etcdserverpb.TxnRequest) bool {
	return len(txn.Compare) > 0 || len(nested(txn)) > 0
}

// nested are the transitions of a batch.
func nested(txn *etcdserverpb.TxnRequest) (members []*etcdserverpb.TxnRequest) {
	for _, op := range txn.Success {
		if m := op.GetRequestTxn(); m != nil {
			members = append(members, m)
		}
	}
	return members
}

func (w *wire) take(write bool) act {
	w.mu.Lock()
	defer w.mu.Unlock()
	from := &w.acts
	if len(*from) == 0 && write {
		from = &w.writes
	}
	if len(*from) == 0 {
		return func(send func() error) error { return send() }
	}
	a := (*from)[0]
	*from = (*from)[1:]
	return a
}

// nextWrites says how the next transitions fare, one act each.
func (w *wire) nextWrites(acts ...act) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writes = append(w.writes, acts...)
}

// left is how many acts have not been played.
func (w *wire) left() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.acts) + len(w.writes)
}
