package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// answer is what is known for certain of a transition: whether it happened,
// and what was read with it or instead of it.
type answer struct {
	applied bool
	view    view
	resp    *clientv3.TxnResponse // as it came
	// repeated: there was a copy before that was not answered. If this one was
	// refused for what may change back, that one may still land.
	repeated bool
}

// commit is the one place that sends transitions. It returns once the answer
// is definite, or with [ErrUnresolved] when ctx ended or the Registry, or its
// client, was closed first.
//
// What is found proves; what is not found proves nothing: a request that was
// not answered may still land. So it is sent again, unchanged, and what it
// reads when its conditions do not hold is the read-back: it shows an earlier
// copy that got through.
//
// The first copy may travel in a batch with others. A later one is sent alone:
// it is then all that its answer can be about, and what ails a batch, such as
// answers that are too long in coming, ends with the batch.
func (r *Registry) commit(ctx context.Context, tr transition) (answer, error) {
	pause := newPause()
	var unanswered error
	for alone := false; ; alone = true {
		a, err := r.send(ctx, tr, alone)
		switch {
		case err == nil:
			a.repeated = unanswered != nil
			return a, nil
		case errors.Is(err, errApart):
			continue // this copy was not done, and there was none before it
		case definite(err) && unanswered != nil:
			// This copy was refused. That says nothing of the ones before.
			return answer{}, unresolved(explain(err), unanswered)
		case definite(err):
			return answer{}, explain(err)
		case tr.idle && errors.Is(err, rpctypes.ErrNoSpace):
			// Some member may have applied it all the same.
			return answer{}, fmt.Errorf("%w: %w", ErrUnresolved, explain(err))
		}
		if unanswered == nil || ctx.Err() == nil {
			unanswered = err // what etcd said tells more than that time is up
		}
		select {
		case <-ctx.Done():
			return answer{}, unresolved(context.Cause(ctx), err)
		case <-r.closed:
			return answer{}, unresolved(ErrClosed, err)
		case <-r.client.Ctx().Done(): // the client was closed before the Registry
			return answer{}, unresolved(ErrClosed, err)
		case <-time.After(pause.NextBackOff()):
		}
	}
}

func unresolved(why, last error) error {
	return fmt.Errorf("%w: %w (%w)", ErrUnresolved, why, explain(last))
}

// newPause spaces out repeats while etcd does not answer.
func newPause() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 20*time.Millisecond, time.Second
	return b
}

// send sends one copy. A caller that gives up stops waiting for the answer; the
// request goes on, for others may be in it.
func (r *Registry) send(ctx context.Context, tr transition, alone bool) (answer, error) {
	if err := context.Cause(ctx); err != nil {
		return answer{}, err
	}
	m := newMember(tr, alone)
	r.batches.join(m)
	impatient := time.After(r.batches.patience)
	for {
		select {
		case is := <-m.answered:
			if is.err != nil {
				return answer{}, is.err
			}
			return resolve(tr, is.resp), nil
		case <-ctx.Done():
			r.batches.leave(m)
			return answer{}, context.Cause(ctx)
		case <-impatient:
			r.batches.hurry()
		}
	}
}

// resolve reads etcd's answer. Refused is only refused if no earlier copy of
// the transition is what broke its conditions.
func resolve(tr transition, resp *clientv3.TxnResponse) answer {
	v := newView(resp.Responses)
	return answer{applied: resp.Succeeded || tr.applied(v), view: v, resp: resp}
}

// rest waits for d, or until ctx ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
