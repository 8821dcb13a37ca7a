package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// written is the ModRevision of a key that the transition has put: etcd's
// revision when this very copy did it, else as it was read back.
func (a answer) written(key string) int64 {
	if a.resp.Succeeded {
		return a.resp.Header.Revision
	}
	return a.view.modRevision(key)
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
	a, err := r.await(ctx, r.submit(ctx, tr, false))
	return r.pursue(ctx, tr, a, err)
}

// commitAll is commit of many at once; of those that are nil it does nothing.
// done is called once for each of the others, by several goroutines, and
// returns before commitAll does.
//
// A thousand goroutines for what is answered in a few batches would cost more
// than all the rest, so they are only for what has to be asked again, and for
// what is not answered in time: of several requests one may have got lost.
func (r *Registry) commitAll(ctx context.Context, all []*transition, done func(i int, a answer, err error)) {
	sent := make([]*member, len(all))
	for i, tr := range all {
		if tr != nil {
			sent[i] = r.submit(ctx, *tr, false)
		}
	}
	patience := time.NewTimer(r.batches.patience)
	defer patience.Stop()
	var apart sync.WaitGroup
	for i, m := range sent {
		if m == nil {
			continue
		}
		is, soon := m.soon(ctx, patience)
		switch {
		case soon && is.err == nil:
			done(i, resolve(m.tr, is.resp), nil)
			continue
		case soon:
			m.answered <- is // for await
		default:
			r.batches.hurry()
			patience.Reset(0) // it is over for the others too
		}
		apart.Go(func() {
			a, err := r.await(ctx, m)
			a, err = r.pursue(ctx, m.tr, a, err)
			done(i, a, err)
		})
	}
	apart.Wait()
}

// soon is the reply to m if it is there before patience, or ctx, is over.
func (m *member) soon(ctx context.Context, patience *time.Timer) (is reply, soon bool) {
	select {
	case is = <-m.answered:
		return is, true
	default:
	}
	select {
	case is = <-m.answered:
		return is, true
	case <-patience.C:
	case <-ctx.Done():
	}
	return reply{}, false
}

// submit sends one copy and does not wait for the answer.
func (r *Registry) submit(ctx context.Context, tr transition, alone bool) *member {
	m := newMember(tr, alone)
	if err := context.Cause(ctx); err != nil {
		m.answered <- reply{err: err}
	} else {
		r.batches.join(m)
	}
	return m
}

// pursue is what commit does with what came of the first copy.
func (r *Registry) pursue(ctx context.Context, tr transition, a answer, err error) (answer, error) {
	pause := newPause()
	var unanswered error
	for ; ; a, err = r.await(ctx, r.submit(ctx, tr, true)) {
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
		if gone := r.pause(ctx, pause.NextBackOff()); gone != nil {
			return answer{}, unresolved(gone, unanswered)
		}
	}
}

// pause rests between two copies. It says why there is no use in another one.
func (r *Registry) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.closed:
		return ErrClosed
	case <-r.client.Ctx().Done(): // the client was closed before the Registry
		return ErrClosed
	case <-timer.C:
		return nil
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

// await waits for the answer to one copy. A caller that gives up stops waiting;
// the request goes on, for others may be in it.
func (r *Registry) await(ctx context.Context, m *member) (answer, error) {
	select {
	case is := <-m.answered: // also when ctx has ended
		return m.resolve(is)
	default:
	}
	impatient := time.After(r.batches.patience)
	for {
		select {
		case is := <-m.answered:
			return m.resolve(is)
		case <-ctx.Done():
			r.batches.leave(m)
			return answer{}, context.Cause(ctx)
		case <-impatient:
			r.batches.hurry()
		}
	}
}

func (m *member) resolve(is reply) (answer, error) {
	if is.err != nil {
		return answer{}, is.err
	}
	return resolve(m.tr, is.resp), nil
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
