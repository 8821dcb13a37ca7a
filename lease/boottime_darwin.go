package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

func boottime() time.Duration {
	var ts unix.Timespec
	// Unlike Linux's, and unlike the clock that Go reads here, Darwin's
	// CLOCK_MONOTONIC goes on during sleep (clock_gettime(3)).
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return time.Duration(ts.Nano())
}
