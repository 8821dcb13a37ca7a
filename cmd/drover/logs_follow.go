package main

import (
	"context"
	"errors"
	"time"

	"github.com/drover-run/drover/registry"
)

// logsInterval is how often logs -f looks.
const logsInterval = 300 * time.Millisecond

// followLogs prints what comes until the process has ended, or the attempt if it is to be only one.
func (c *cli) followLogs(ctx context.Context, r *registry.Registry, p registry.Process, only int, l *logPrinter) error {
	tick := time.NewTicker(logsInterval)
	defer tick.Stop()
	away := false
	for {
		if err := l.look(p, only); err != nil || attemptEnded(p, only) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		next, err := r.Get(ctx, p.ID)
		switch {
		case errors.Is(err, registry.ErrUnavailable): // the command runs on meanwhile
			if !away {
				c.hint("drover: etcd does not answer, waiting for it")
			}
			away = true
		case err != nil:
			return err
		default:
			p, away = next, false
		}
	}
}

// look prints what is new.
func (l *logPrinter) look(p registry.Process, only int) error {
	if progress := progressOf(p); progress != nil && progress.Attempt >= l.attempt && (only == 0 || progress.Attempt == only) {
		if err := l.turn(p, progress.Attempt); err != nil {
			return err
		}
		if l.stdout.file == nil {
			if err := l.tail(*progress); err != nil {
				return err
			}
		}
	}
	if attemptEnded(p, only) {
		return l.finish(p, only)
	}
	if l.stdout.file != nil {
		return l.drain(false)
	}
	return nil
}

// turn begins an attempt, if it is not the one that is shown, with its log if that is here.
func (l *logPrinter) turn(p registry.Process, n int) error {
	if l.attempt == n {
		return nil
	}
	if l.stdout.file != nil {
		if err := l.drain(true); err != nil {
			return err
		}
	}
	l.begin(p, n)
	if place := placeOf(p, n); place != nil {
		_, err := l.open(*place)
		return err
	}
	return nil
}

// finish prints what is left when nothing more will come.
func (l *logPrinter) finish(p registry.Process, only int) error {
	last := p.Attempt
	if only > 0 {
		last = only
	}
	if last > 0 {
		if err := l.turn(p, last); err != nil {
			return err
		}
	}
	if l.stdout.file != nil {
		return l.drain(true)
	}
	if last != p.Attempt {
		return nil
	}
	output, err := outputOf(p)
	if err != nil {
		return err
	}
	return l.rest(output)
}
