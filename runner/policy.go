package runner

import (
	"math/rand/v2"
	"time"
)

const (
	defaultMaxAttempts = 10
	defaultBackoff     = time.Second
	// maxBackoff is the longest delay before a retry, unless a policy says
	// otherwise.
	maxBackoff = 10 * time.Minute
)

// Policy says how long a process waits before it is run again. How many errors
// it may have is not the policy's: see [WithMaxAttempts].
type Policy interface {
	// Delay is asked after each error of a handler. errors counts those of the
	// series, this one included, so it is 1 at least; err is what the handler
	// returned. A negative delay is none. It must not block.
	Delay(errors int, err error) time.Duration
}

// PolicyFunc is a function as a Policy.
type PolicyFunc func(errors int, err error) time.Duration

// Delay implements Policy.
func (f PolicyFunc) Delay(errors int, err error) time.Duration { return f(errors, err) }

// Constant is the policy to wait that long before every retry.
func Constant(d time.Duration) Policy {
	return PolicyFunc(func(int, error) time.Duration { return d })
}

// Exponential is the policy to wait anything up to a ceiling, which is Base
// after the first error and doubles with each further one, up to Cap. That is
// full jitter: it spreads the retries of many processes that failed together
// evenly. It is the default.
type Exponential struct {
	Base time.Duration // 1 s if zero
	Cap  time.Duration // 10 min if zero
}

// Delay implements Policy.
func (e Exponential) Delay(errors int, _ error) time.Duration {
	return e.jittered(errors, rand.Float64())
}

// jittered takes its chance from random, 0 to 1.
func (e Exponential) jittered(errors int, random float64) time.Duration {
	ceiling, most := e.Base, e.Cap
	if ceiling <= 0 {
		ceiling = defaultBackoff
	}
	if most <= 0 {
		most = maxBackoff
	}
	for range errors - 1 {
		if ceiling >= most/2 {
			ceiling = most
			break
		}
		ceiling *= 2
	}
	return time.Duration(random * float64(min(ceiling, most)))
}
