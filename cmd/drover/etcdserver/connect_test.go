package etcdserver

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestOnlyReadsAreSentAgain(t *testing.T) {
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{}}}
	write := &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{}}}
	for _, tt := range []struct {
		name  string
		req   any
		code  codes.Code
		calls int
	}{
		{"reads", &pb.TxnRequest{Success: []*pb.RequestOp{read, read}}, codes.Unavailable, 2},
		{"reads, refused", &pb.TxnRequest{Success: []*pb.RequestOp{read}}, codes.PermissionDenied, 1},
		{"reads, answered", &pb.TxnRequest{Success: []*pb.RequestOp{read}}, codes.OK, 1},
		{"a write", &pb.TxnRequest{Success: []*pb.RequestOp{read, write}}, codes.Unavailable, 1},
		{"a write otherwise", &pb.TxnRequest{Success: []*pb.RequestOp{read}, Failure: []*pb.RequestOp{write}}, codes.Unavailable, 1},
		{"a put", &pb.PutRequest{}, codes.Unavailable, 1},
	} {
		calls := 0
		invoke := func(context.Context, string, any, any, *grpc.ClientConn, ...grpc.CallOption) error {
			calls++
			if calls == 2 || tt.code == codes.OK {
				return nil
			}
			return status.Error(tt.code, "")
		}
		err := repeatReads(t.Context(), "", tt.req, nil, nil, invoke)
		if calls != tt.calls || (err == nil) != (tt.calls == 2 || tt.code == codes.OK) {
			t.Errorf("%s: %d calls, want %d; %v", tt.name, calls, tt.calls, err)
		}
	}
}
