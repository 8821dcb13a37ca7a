package lease

import (
	"time"

	"golang.org/x/sys/unix"
)

func boottime() time.Duration {
	var ts unix.Timespec
	// It fails only for a clock that does not exist, and this one has since
	// Linux 2.6.39. Zero then leaves the decision to the other clock.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
