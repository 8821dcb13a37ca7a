//go:build !linux

package lease

const childEnv = "DROVER_LEASE_TEST_CHILD"

func child() {}
