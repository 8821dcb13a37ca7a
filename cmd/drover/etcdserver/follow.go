package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc/connectivity"
)

const (
	// Between two looks at the directory, at first and in the end: a handover is
	// over after a few, and an etcd that is frozen may stay so for hours.
	soonest = retryEvery
	latest  = 200 * time.Millisecond

	// noticeable is after how long without an etcd somebody should know.
	noticeable = 3 * time.Second
)

var errDirGone = errors.New("the data directory was removed or replaced")

// follow keeps the client connected to whoever serves, and serves when it is
// this process's turn. Stop ends it and waits for it.
func (s *Share) follow(ctx context.Context) {
	defer close(s.followed)
	err := s.untilServing(ctx)
	if server := s.server.Load(); err == nil && server != nil {
		select {
		case <-ctx.Done():
		case err = <-server.Err():
		}
	}
	if err != nil && ctx.Err() == nil {
		s.died <- err
	}
}

// untilServing returns when this process serves. A client that is connected is
// told by its connection when to look again, so nothing is asked until then.
func (s *Share) untilServing(ctx context.Context) error {
	for s.server.Load() == nil {
		if s.connection() == connectivity.Ready {
			s.client.ActiveConnection().WaitForStateChange(ctx, connectivity.Ready)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.regain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// regain looks for who serves now, or does it, until etcd answers.
func (s *Share) regain(ctx context.Context) error {
	begin, warned := time.Now(), false
	for d := soonest; ; d = min(2*d, latest) {
		holder, err := s.step(ctx)
		if err != nil && !errors.Is(err, errNobody) { // somebody may come
			return err
		}
		if s.settled() {
			break
		}
		if !warned && time.Since(begin) > noticeable {
			warned = true
			s.log.Warn("the etcd in the data directory does not answer", zap.String("dir", s.dir),
				zap.Int("pid", holder.PID), zap.String("state", string(holder.State)))
		}
		if err := s.rest(ctx, d); err != nil {
			return err
		}
	}
	if warned {
		s.log.Warn("the etcd in the data directory answers again", zap.Duration("after", time.Since(begin)))
	}
	return nil
}

// step is one look at the directory: this process serves it if nobody does, or
// its client is pointed at who does.
func (s *Share) step(ctx context.Context) (Holder, error) {
	if s.serves {
		if !sameFile(s.sharers, filepath.Join(s.dir, sharersName)) {
			// It would be an empty etcd: worse than none for who has work in the old.
			return Holder{}, fmt.Errorf("%s: %w", s.dir, errDirGone)
		}
		dir, previous, err := tryDataDir(s.dir)
		if err == nil {
			return Holder{}, s.serve(ctx, dir, previous)
		}
		if _, held := errors.AsType[*InUseError](err); !held {
			return Holder{}, err
		}
	}
	holder, held, err := look(s.dir)
	switch {
	case err != nil:
		return Holder{}, err
	case held && holder.State == Serving:
		return holder, s.point(holder.Endpoints)
	case !held && !s.serves:
		return s.successor()
	}
	return holder, nil
}

// successor is who takes over from the last holder, if anybody will.
func (s *Share) successor() (Holder, error) {
	shared, err := isShared(s.dir)
	if err == nil && !shared {
		err = errNobody
	}
	return Holder{State: Starting}, err
}

// serve starts etcd in the directory that this process has just taken.
func (s *Share) serve(ctx context.Context, dir *dataDir, previous Holder) error {
	begin := time.Now()
	server, err := launch(ctx, Options{Dir: s.dir, Logger: s.log}, nil, dir, previous)
	if err != nil {
		return err
	}
	s.server.Store(server)
	if s.client == nil {
		s.client = server.Client()
		return nil
	}
	s.log.Info("took over the data directory", zap.String("dir", s.dir), zap.Duration("started_in", time.Since(begin)))
	return s.point(server.Endpoints())
}

// point has the client use these endpoints.
func (s *Share) point(endpoints []string) (err error) {
	switch {
	case s.client == nil:
		if s.client, err = connect(endpoints); err != nil {
			return fmt.Errorf("connect to the etcd in %s: %w", s.dir, err)
		}
	case !slices.Equal(s.client.Endpoints(), endpoints):
		s.client.SetEndpoints(endpoints...)
	}
	s.client.ActiveConnection().Connect()
	return nil
}

// rest waits for d, or until the connection stands.
func (s *Share) rest(ctx context.Context, d time.Duration) error {
	if s.client == nil {
		return pause(ctx, d)
	}
	short, cancel := context.WithTimeout(ctx, d/2+rand.N(d))
	defer cancel()
	for short.Err() == nil && !s.settled() {
		s.client.ActiveConnection().WaitForStateChange(short, s.connection())
	}
	return context.Cause(ctx)
}
