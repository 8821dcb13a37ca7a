package main

import (
	"google.golang.org/grpc/experimental"
	"google.golang.org/grpc/mem"
)

// gRPC's own pool has no buffers between 32 KiB and 1 MiB, and a batch of
// transitions has 100 KiB: each would be written into a megabyte that is zeroed
// first, at both ends where etcd is in this process.
func init() {
	pool, err := mem.NewBinaryTieredBufferPool(8, 10, 12, 14, 15, 16, 17, 18, 19, 20)
	if err != nil {
		panic(err) // the exponents are wrong
	}
	experimental.SetDefaultBufferPool(pool)
}
