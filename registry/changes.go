package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Change is a process as it was after something happened to it. Inputs and
// outputs over 4 KiB are only in [Registry.Get].
type Change struct {
	// Revision is the one at which it happened, and at which the process was
	// like this. Several processes can change at one revision.
	Revision int64 `json:"revision"`
	// Cursor is what to go on after, once this change was dealt with. It is
	// smaller than Revision while there is more to come of that revision.
	Cursor int64 `json:"cursor"`
	Process
}

// ChangesOptions says which changes are wanted.
type ChangesOptions struct {
	IDs []string // of these processes; of all if empty
	// After is a revision, or a cursor: the first changes are those after it.
	// If it is 0 they are those from now on.
	After int64
}

// CompactedError says that changes were missed: etcd has compacted the
// revisions after the cursor. It wraps [ErrCompacted].
type CompactedError struct {
	Cursor int64 // the one that can't be gone on after
	Oldest int64 // the oldest one that can
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("the changes after revision %d are gone, etcd keeps those after %d", e.Cursor, e.Oldest)
}

// Unwrap is [ErrCompacted].
func (e *CompactedError) Unwrap() error { return ErrCompacted }

// Changes calls f with each change of a process, in the order of revisions,
// until ctx ends, which returns nil, or f returns an error, which is returned.
// A process that changes in several ways at one revision is told of once.
//
// No end is ever missed: who goes on after the cursor of the last change that
// he dealt with is told of every end since, of some perhaps twice. Other
// changes are left out where etcd has compacted their revision by the time
// they are looked at. When a process is deleted nothing is told.
//
// A watch that is lost is set up again, and an outage waited for. If changes
// were missed, the error is a [*CompactedError]: list what there is, and go on
// after the revision of the list. A cursor of the future is an error that
// wraps [ErrInvalid]: the history of etcd is another one, as after a restore.
func (r *Registry) Changes(ctx context.Context, o ChangesOptions, f func(Change) error) error {
	feed := changeFeed{r: r, tell: f, ids: map[string]bool{}}
	for _, id := range o.IDs {
		if err := CheckID(id); err != nil {
			return err
		}
		feed.ids[id] = true
	}
	resp, err := r.read(ctx, get(r.keys.root))
	if err != nil {
		return fmt.Errorf("follow the changes: %w", err)
	}
	switch now := resp.Header.Revision; {
	case o.After < 0 || o.After > now:
		return fmt.Errorf("%w: follow the changes after revision %d, etcd is at %d", ErrInvalid, o.After, now)
	case o.After == 0:
		feed.next = now + 1
	default:
		feed.next = o.After + 1
	}
	pause := newPause()
	for {
		from := feed.next
		err := feed.watch(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // that it ended as asked is no error
		case err != nil:
			return err
		case feed.next > from:
			pause.Reset()
		}
		rest(ctx, pause.NextBackOff())
	}
}

// changeFeed is one call of Changes.
type changeFeed struct {
	r    *Registry
	tell func(Change) error
	ids  map[string]bool // all if empty
	next int64           // the first revision that was not dealt with
}

// watch returns nil when the watch was lost.
func (c *changeFeed) watch(ctx context.Context) error {
	watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	// Notifications of progress move next on while nothing happens here, so
	// that it is not compacted away under a feed that is idle.
	events := c.r.client.Watch(watch, c.r.keys.root, clientv3.WithPrefix(), clientv3.WithRev(c.next), clientv3.WithProgressNotify())
	for {
		select {
		case <-c.r.closed:
			return fmt.Errorf("follow the changes: %w", ErrClosed)
		case <-c.r.client.Ctx().Done():
			return fmt.Errorf("follow the changes: %w", ErrClosed)
		case resp, ok := <-events:
			switch {
			case !ok:
				return nil
			case resp.CompactRevision > 0:
				return &CompactedError{Cursor: c.next - 1, Oldest: resp.CompactRevision}
			case resp.IsProgressNotify():
				c.next = max(c.next, resp.Header.Revision+1)
			case isOneOf(resp.Err(), denials):
				return fmt.Errorf("follow the changes: %w", explain(resp.Err()))
			}
			if err := c.deal(ctx, resp.Events); err != nil {
				return err
			}
		}
	}
}

// deal tells of what happened, revision by revision.
func (c *changeFeed) deal(ctx context.Context, events []*clientv3.Event) error {
	for len(events) > 0 {
		revision := events[0].Kv.ModRevision
		n := slices.IndexFunc(events, func(e *clientv3.Event) bool { return e.Kv.ModRevision != revision })
		if n < 0 {
			n = len(events)
		}
		m := c.r.keys.moment(events[:n])
		m.keep(c.ids)
		changed, err := c.look(ctx, &m)
		if err != nil {
			return err
		}
		for i, p := range changed {
			change := Change{Revision: revision, Cursor: revision - 1, Process: p}
			if i == len(changed)-1 {
				change.Cursor = revision
			}
			if err := c.tell(change); err != nil {
				return err
			}
		}
		c.next, events = revision+1, events[n:]
	}
	return nil
}

// look makes processes of what changed. What ended is in the events; the rest
// is read, for as long as etcd is out of reach and unless it is compacted.
func (c *changeFeed) look(ctx context.Context, m *moment) ([]Process, error) {
	seen := map[string]Process{}
	var open []string
	for _, id := range m.ids {
		kv := m.rows[id]
		if kv == nil {
			open = append(open, id)
			continue
		}
		there, err := decodeRow(string(kv.Key), id, kv.Value)
		switch {
		case err != nil:
			c.r.log.Warn("a row that changed can't be read", zap.String("process", id), zap.Error(err))
		case there.ended():
			seen[id] = there.process()
		default:
			open = append(open, id)
		}
	}
	if len(open) > 0 || len(m.sessions) > 0 {
		if err := c.lookAt(ctx, m, open, seen); err != nil {
			return nil, err
		}
	}
	changed := make([]Process, 0, len(seen))
	for _, id := range m.ids {
		if p, ok := seen[id]; ok {
			changed = append(changed, p)
			delete(seen, id) // each once
		}
	}
	return changed, nil
}

func (c *changeFeed) lookAt(ctx context.Context, m *moment, open []string, into map[string]Process) error {
	pause := newPause()
	for {
		err := c.r.lookAt(ctx, m, open, c.ids, into)
		switch {
		case err == nil, errors.Is(err, ErrCompacted), ctx.Err() != nil:
			return nil //nolint:nilerr // the ends are known, and nothing more is promised
		case !errors.Is(err, ErrUnavailable):
			return fmt.Errorf("follow the changes: %w", err)
		}
		select {
		case <-c.r.closed:
			return fmt.Errorf("follow the changes: %w", ErrClosed)
		default:
			rest(ctx, pause.NextBackOff())
		}
	}
}
