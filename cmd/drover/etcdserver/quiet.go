package etcdserver

import (
	"io"
	"os"

	"google.golang.org/grpc/grpclog"
)

// gRPC would write its errors, such as every refused connection, to standard
// error. Its logger is global and may be replaced before gRPC is used, that is
// in an init, only. Who asked for its logs by gRPC's or etcd's own variables
// gets them.
func init() {
	for _, name := range []string{"GRPC_GO_LOG_SEVERITY_LEVEL", "GRPC_GO_LOG_VERBOSITY_LEVEL", "ETCD_CLIENT_DEBUG"} {
		if os.Getenv(name) != "" {
			return
		}
	}
	grpclog.SetLoggerV2(grpclog.NewLoggerV2(io.Discard, io.Discard, io.Discard))
}
