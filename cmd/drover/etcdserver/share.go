package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc/connectivity"
)

// Share is the etcd of a data directory that several processes share: a client
// of it, whichever of them serves it, and the server itself once it is this
// process's turn. Its methods may be called from any goroutine.
//
// The one that holds the directory's lock serves. When it ends, however it ends,
// another one takes the lock, starts etcd on the same data and says so in the
// record; the clients of all follow it there. That takes some tenths of a
// second. Requests wait meanwhile, watches are cut and made anew by their owners,
// and every lease gets its full TTL again.
type Share struct {
	dir     string
	log     *zap.Logger
	serves  bool     // it is to serve when nobody else does
	sharers *os.File // held for as long, nil if it does not serve
	client  *clientv3.Client
	server  atomic.Pointer[Server] // nil while somebody else's is used

	died     chan error // of 1: written by follow
	end      context.CancelFunc
	followed chan struct{} // closed when follow has ended; nil if it was never started

	stop    sync.Once
	stopped chan struct{} // closed when stopErr is set
	stopErr error
}

// errNobody: no process serves the directory or is about to.
var errNobody = errors.New("nobody serves the data directory")

// Join shares dir, which is made if it does not exist. It returns when etcd
// answers: this process's own, if no other serves the directory.
//
// It fails with an [*InUseError] within 2 s if another process holds the
// directory and does not answer, or after 30 s if that has been starting or
// stopping for as long; with a [*FatalError] if the data is damaged; with the
// context's cause if that ends. log gets etcd's warnings and errors, and is told
// when this process begins to serve; nil is none.
func Join(ctx context.Context, dir string, log *zap.Logger) (*Share, error) {
	s := newShare(dir, log)
	s.serves = true
	var err error
	if s.sharers, err = join(ctx, dir); err != nil {
		return nil, err
	}
	return s.begin(ctx)
}

// Visit is Join for a client command, which never serves. ok is false if nobody
// serves dir or is about to; it makes nothing then.
func Visit(ctx context.Context, dir string) (s *Share, ok bool, err error) {
	s, err = newShare(dir, nil).begin(ctx)
	if errors.Is(err, errNobody) {
		return nil, false, nil
	}
	return s, err == nil, err
}

func newShare(dir string, log *zap.Logger) *Share {
	if log == nil {
		log = zap.NewNop()
	}
	return &Share{dir: dir, log: log, died: make(chan error, 1), end: func() {}, stopped: make(chan struct{})}
}

func (s *Share) begin(ctx context.Context) (*Share, error) {
	if err := s.enter(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(context.WithoutCancel(ctx)))
	}
	// It outlives ctx.
	following, end := context.WithCancel(context.WithoutCancel(ctx))
	s.end, s.followed = end, make(chan struct{})
	go s.follow(following)
	return s, nil
}

// Client stays the same whoever serves. The Share owns it and closes it in Stop.
func (s *Share) Client() *clientv3.Client { return s.client }

// Endpoints are where etcd is served now.
func (s *Share) Endpoints() []string {
	if server := s.server.Load(); server != nil {
		return server.Endpoints()
	}
	return s.client.Endpoints()
}

// Err delivers one error if this process's own server dies by itself, or can't be
// started when it is its turn, and nothing when it is stopped. The process
// should end then, so that another one may try.
func (s *Share) Err() <-chan error { return s.died }

// Stop closes the client, and the server if it is this process's: others take
// over then. The rest is as with [Server.Stop].
func (s *Share) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		s.end()
		go s.shutdown()
	})
	select {
	case <-s.stopped:
		return s.stopErr
	case <-ctx.Done():
		return fmt.Errorf("etcd in %s is still closing: %w", s.dir, context.Cause(ctx))
	}
}

func (s *Share) shutdown() {
	defer close(s.stopped)
	if s.followed != nil {
		<-s.followed // it may have been about to serve
	}
	server := s.server.Load()
	if s.client != nil && (server == nil || s.client != server.Client()) {
		_ = s.client.Close() // always that of its own cancelled context
	}
	if server != nil {
		s.stopErr = server.Stop(context.Background())
	}
	if s.sharers != nil {
		s.stopErr = errors.Join(s.stopErr, s.sharers.Close())
	}
}

// enter makes the client, and serves if nobody else does.
func (s *Share) enter(ctx context.Context) error {
	w := waiting{serving: silentPatience, changing: changingPatience}
	for {
		holder, err := s.step(ctx)
		switch {
		case err != nil:
			return err
		case s.settled():
			return nil
		case w.over(holder):
			return &InUseError{Dir: s.dir, PID: holder.PID, State: holder.State, Silent: holder.State == Serving}
		}
		if err := s.rest(ctx, retryEvery); err != nil {
			return err
		}
	}
}

// settled reports whether there is an etcd that answers.
func (s *Share) settled() bool {
	return s.server.Load() != nil || s.client != nil && s.connection() == connectivity.Ready
}

// connection is Ready once the server has said its first word, which the kernel
// does not do in its place: one that was stopped is never.
func (s *Share) connection() connectivity.State { return s.client.ActiveConnection().GetState() }
