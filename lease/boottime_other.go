//go:build !linux && !darwin

package lease

import "time"

var processStart = time.Now()

func boottime() time.Duration { return time.Since(processStart) }
