package lease

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/trouble"
)

// holder is what a session asks etcd, again and again. An error that wraps
// ErrLost is etcd's word that the session is over; any other only means that
// there was no answer.
type holder interface {
	// renew renews the lease and returns the TTL that it has from now on.
	renew(context.Context) (time.Duration, error)
	// check is nil if the session's key is there, ours and on our lease.
	check(context.Context) error
}

// interval is the time between renewals: at most a third of the TTL, so that
// one may be lost, and its retry too, before the deadline.
func interval(ttl time.Duration) time.Duration {
	return ttl/3 - rand.N(ttl/15)
}

// retryDelay is the pause after a renewal that failed. It does not grow: there
// is time for a handful only, and then the session is lost.
func retryDelay(ttl time.Duration) time.Duration {
	d := min(ttl/10, time.Second)
	return d - d/5 + rand.N(2*d/5)
}

// renewTimeout leaves room for a second request: with several endpoints the
// client sends that one to another of them.
func renewTimeout(ttl time.Duration) time.Duration { return ttl / 3 }

// checkTimeout is short as a server that is behind with applying answers reads
// late and renewals at once: reads must not keep us from renewing.
func checkTimeout(ttl time.Duration) time.Duration { return ttl / 6 }

// troubles are what may go wrong with a session that lives.
type troubles struct{ renewing, looking *trouble.Trouble }

func newTroubles(log *zap.Logger) troubles {
	return troubles{
		renewing: trouble.New(log, "the session is not renewed, it is tried until its deadline", "the session is renewed again"),
		looking:  trouble.New(log, "the session's key can't be looked at", "the session's key can be looked at again"),
	}
}

// keep renews until ctx ends, and ends the tenure when it has run out. They
// are two goroutines as a deadline must not depend on a request's return.
func keep(ctx context.Context, t *tenure, h holder, asked instant, log *zap.Logger) {
	var renewals sync.WaitGroup
	renewals.Go(func() { renewEvery(ctx, t, h, asked, newTroubles(log)) })
	watchDeadline(ctx, t)
	renewals.Wait()
}

// watchDeadline returns when the session is over. It need not hear of
// renewals: a timer that fires early finds the session alive.
func watchDeadline(ctx context.Context, t *tenure) {
	timer := time.NewTimer(t.now().left(t.deadline()))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			if t.over() != nil {
				return
			}
			timer.Reset(t.now().left(t.deadline()))
		}
	}
}

// renewEvery renews at intervals counted from when the last renewal was sent,
// at first from asked.
func renewEvery(ctx context.Context, t *tenure, h holder, asked instant, says troubles) {
	timer := time.NewTimer(asked.mono.Add(interval(t.granted())).Sub(t.now().mono))
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if t.over() != nil {
			return
		}
		asked := t.now()
		if err := beat(ctx, t, h, asked, says); err != nil {
			timer.Reset(retryDelay(t.granted()))
			continue
		}
		timer.Reset(asked.mono.Add(interval(t.granted())).Sub(t.now().mono))
	}
}

// beat is one renewal, and one look at the key if it was answered. Only an
// unanswered renewal is an error: nothing runs out because of a look that was
// not answered, and all that matters is guarded by the same conditions.
func beat(ctx context.Context, t *tenure, h holder, asked instant, says troubles) error {
	ttl := t.granted()
	err := within(ctx, renewTimeout(ttl), func(ctx context.Context) (err error) {
		ttl, err = h.renew(ctx)
		return err
	})
	switch {
	case errors.Is(err, ErrLost):
		t.end(err)
		return err
	case err != nil:
		t.failed(err)
		if ctx.Err() == nil {
			says.renewing.NoteSince(t.last().Asked, err, zap.Duration("left", t.now().left(t.deadline())))
		}
		return err
	}
	t.extend(asked, ttl)
	says.renewing.Note(nil)

	err = within(ctx, checkTimeout(ttl), h.check)
	switch {
	case errors.Is(err, ErrLost):
		t.end(err)
	case ctx.Err() == nil:
		says.looking.Note(err)
	}
	return nil
}

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}
