//go:build linux || darwin

package supervisor

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/drover-run/drover/lease"
)

// record is where a node says who its witness is.
type record func(ctx context.Context, identity lease.Identity) error

// attach has each next witness put on record by this, until detached.
func (l *WitnessLink) attach(r record) (detach func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records[&r] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.records, &r)
	}
}

// tend replaces a witness that has died, until Close is called.
func (l *WitnessLink) tend(w *beside) {
	for {
		<-w.done
		if l.closed() {
			return
		}
		l.set(nil, w.err)
		begun := time.Now()
		l.logger.Warn("the witness is gone, another one is started", zap.Error(w.err))
		if w = l.replace(); w == nil {
			return
		}
		l.logger.Info("there is a witness again", zap.Int("pid", w.identity.PID), zap.Duration("after", time.Since(begun)))
	}
}

// replace returns nil once Close was called.
func (l *WitnessLink) replace() *beside {
	pause := newPause()
	said := false
	for !l.closed() {
		w, err := l.next()
		if err == nil {
			return w
		}
		l.set(nil, err)
		if !said && !l.closed() {
			said = true
			l.logger.Error("no witness can be started, it is tried again and again", zap.Error(err))
		}
		select {
		case <-l.leaving:
		case <-time.After(pause.NextBackOff()):
		}
	}
	return nil
}

// next starts a witness, tells it everything, and then puts it on the record of every node. In this order, for it can
// watch what runs without a record, and else nobody does for as long as etcd takes none. Nothing is started before it is on
// record: a node counts as dead when it and the witness on its record are, and then nothing may be left of what is watched.
func (l *WitnessLink) next() (*beside, error) {
	ctx, cancel := until(l.leaving)
	defer cancel()
	w, err := l.spawn(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel = within(ctx, w.done)
	defer cancel()
	l.introduce(w.identity)
	if err := l.charges.handTo(ctx, w); err != nil {
		return nil, errors.Join(err, w.end())
	}
	err = l.putOnRecord(ctx, w.identity)
	switch {
	case l.settle(w, err == nil):
		return w, nil
	case err == nil:
		return nil, ErrWitnessGone // so is this process's interest in it
	default:
		return nil, err
	}
}

// introduce has nodes put the witness on the records that they make from now on.
func (l *WitnessLink) introduce(identity lease.Identity) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.identity = identity
}

// maxRecordPause is how long it takes at the most until commands are started again when etcd takes a record again.
const maxRecordPause = 2 * time.Second

// putOnRecord tries until every record that there is names the witness, or ctx ends.
func (l *WitnessLink) putOnRecord(ctx context.Context, identity lease.Identity) error {
	pause := newPause()
	pause.MaxInterval = maxRecordPause
	named := map[*record]bool{}
	for said := false; ; said = true {
		err := l.nameIn(ctx, identity, named)
		if err == nil || ctx.Err() != nil {
			return err
		}
		l.set(nil, err)
		if !said {
			l.logger.Error("the next witness watches what runs, but can't be put on record, it is tried again and again", zap.Error(err))
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause.NextBackOff()):
		}
	}
}

// nameIn stops at the first record that can't be written.
func (l *WitnessLink) nameIn(ctx context.Context, identity lease.Identity, named map[*record]bool) error {
	for _, r := range l.present() {
		if named[r] {
			continue
		}
		if err := (*r)(ctx, identity); err != nil {
			return err
		}
		named[r] = true
	}
	return nil
}

func (l *WitnessLink) present() (records []*record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.records {
		records = append(records, r)
	}
	return records
}

// settle has commands started by a witness that is on record. After Close was called it leaves any to that.
func (l *WitnessLink) settle(w *beside, onRecord bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed():
		l.unheard = w
		return false
	case onRecord:
		l.become(w, nil)
	}
	return onRecord
}
