package etcdserver

import (
	"context"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// connect makes a client that outlives the server it is connected to: its requests
// wait, each until its deadline, for a server to come. It connects when it is
// told to.
func connect(endpoints []string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, Logger: zap.NewNop(),
		// A holder that was stopped is noticed within 13 s, even by who only
		// watches.
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		DialOptions: []grpc.DialOption{
			grpc.WithChainUnaryInterceptor(repeatReads),
			// Of its own, and not by ResetConnectBackoff: that walks a map of
			// connections which gRPC may be changing, without a lock.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: soonest, Multiplier: 1.6, Jitter: 0.2, MaxDelay: latest},
				MinConnectTimeout: 20 * time.Second, // gRPC's own: who is frozen answers when he is not any more
			}),
		},
	})
}

// repeatReads sends a transaction that only reads again if its server went away
// with it. etcd's client does so with single reads, but takes every transaction
// for one that writes.
func repeatReads(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := invoke(ctx, method, req, reply, cc, opts...)
	if txn, ok := req.(*pb.TxnRequest); ok && status.Code(err) == codes.Unavailable && onlyReads(txn) {
		return invoke(ctx, method, req, reply, cc, opts...)
	}
	return err
}

func onlyReads(txn *pb.TxnRequest) bool {
	return !slices.ContainsFunc(slices.Concat(txn.GetSuccess(), txn.GetFailure()), func(op *pb.RequestOp) bool {
		return op.GetRequestRange() == nil
	})
}
