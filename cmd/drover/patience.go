package main

import (
	"context"
	"errors"
)

// errNoAnswer is why a command gives a write up.
var errNoAnswer = errors.New("etcd has not answered for too long")

// patiently calls do with time for a request and for another, as while etcd elects
// a leader. A write that is not answered is repeated as long as its context lives,
// which for somebody who sits and waits would be for ever.
func (c *cli) patiently(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*c.global.requestTimeout, errNoAnswer)
	defer cancel()
	return do(ctx)
}
