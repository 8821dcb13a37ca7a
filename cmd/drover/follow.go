package main

import (
	"context"
	"errors"
	"reflect"
	"time"

	"github.com/drover-run/drover/registry"
)

// follower tells of changes until there is nothing more to tell, or until a
// signal ends it.
type follower struct {
	cli      *cli
	registry *registry.Registry
	cursor   int64 // what was told; 0: nothing yet, begin with what comes now
}

// errFollowed ends a feed whose process has ended.
var errFollowed = errors.New("there is nothing more to follow")

// until follows these processes, or all, until tell returns an error. errFollowed
// is none.
func (f *follower) until(ctx context.Context, ids []string, tell func(registry.Change) error) error {
	return untilSignal(ctx, func(ctx context.Context) error { return f.follow(ctx, ids, tell) })
}

func (f *follower) follow(ctx context.Context, ids []string, tell func(registry.Change) error) error {
	err := f.registry.Changes(ctx, registry.ChangesOptions{IDs: ids, After: f.cursor}, func(change registry.Change) error {
		f.cursor = change.Cursor
		return tell(change)
	})
	if errors.Is(err, errFollowed) {
		return nil
	}
	return err
}

// process follows one until it has ended, and begins with how it is.
func (f *follower) process(ctx context.Context, id string, tell func(registry.Process) error) error {
	return untilSignal(ctx, func(ctx context.Context) error {
		for {
			p, revision, err := f.standing(ctx, id)
			if err != nil {
				return err
			}
			if err := tell(p); err != nil || p.Ended() {
				return err
			}
			f.cursor = revision
			err = f.follow(ctx, []string{id}, func(change registry.Change) error {
				if err := tell(change.Process); err != nil {
					return err
				}
				if change.Ended() {
					return errFollowed
				}
				return nil
			})
			if !errors.Is(err, registry.ErrCompacted) {
				return err
			}
			// Changes were missed: look again at how it is.
		}
	})
}

// standing reads a process, and a revision at which it was just so: one between
// two reads that find the same.
func (f *follower) standing(ctx context.Context, id string) (p registry.Process, revision int64, err error) {
	before, err := f.registry.Get(ctx, id)
	for err == nil {
		var page registry.Page
		if page, err = f.registry.List(ctx, registry.Filter{Limit: 1}); err != nil {
			break
		}
		if p, err = f.registry.Get(ctx, id); err != nil || reflect.DeepEqual(before, p) {
			return p, page.Revision, err
		}
		before = p
	}
	return registry.Process{}, 0, err
}

// unreadPatience is how long a signal leaves to a write that nobody reads: it
// can't be interrupted, and nothing is lost when it is given up.
const unreadPatience = time.Second

// untilSignal calls f and returns what it returns. A signal ends its context, and
// the program with the code of that signal.
func untilSignal(ctx context.Context, f func(context.Context) error) error {
	asked, unasked := signals()
	defer unasked()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		err = f(ctx)
	}()
	select {
	case <-done:
		return err
	case s := <-asked:
		cancel()
		select {
		case <-done:
		case <-time.After(unreadPatience):
		}
		return &exitError{code: exitOfSignal(s)}
	}
}
