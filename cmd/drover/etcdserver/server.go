package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

// Options says where to keep the data and whom to serve.
type Options struct {
	// Dir is the data directory, made with mode 0700 if it does not exist.
	Dir string

	// Listen is the host:port for clients over TCP; port 0 takes a free one. No
	// host means every IPv4 address of the machine; there is no authentication.
	// Empty serves the socket only.
	Listen string

	// Logger gets etcd's warnings and errors, named "etcd". Nil is none.
	Logger *zap.Logger
}

// Server is a running etcd. Its methods may be called from any goroutine.
type Server struct {
	dir       *dataDir
	socketDir string
	endpoints []string
	etcd      *embed.Etcd
	client    *clientv3.Client

	trap *trap
	logs logs
	grpc grpcServers

	died    chan error    // of 1: written by watch
	watched chan struct{} // closed when watch has ended; nil if it was never started

	compacting sync.WaitGroup
	uncompact  context.CancelFunc // ends it; nil if it was never started

	stop     sync.Once
	stopping chan struct{} // closed when Stop is called
	stopped  chan struct{} // closed when stopErr is set
	stopErr  error
}

// Start takes the data directory and returns when etcd answers, which takes
// some tens of milliseconds with little data on a good disk.
//
// It fails with an [*InUseError] if another process has the directory: within
// 0.2 s if that is serving, after 30 s if it is starting or stopping, which is
// waited for, within 2 s if it says neither. It fails with a [*PortError] if Listen is taken, with a
// [*FatalError] if the data is damaged, and with the context's cause if that
// ends. Nothing is left behind by a failure, except after a FatalError: what etcd
// had opened by then often can't be closed, and then the directory stays locked
// until the process ends.
//
// A cancelled start returns when what it began has been closed again. etcd can't
// be interrupted while it reads its log.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("no data directory is given")
	}
	addr, err := resolve(ctx, o.Listen)
	if err != nil {
		return nil, err
	}
	dir, previous, err := openDataDir(ctx, o.Dir, waiting{serving: servingPatience, changing: changingPatience})
	if err != nil {
		return nil, err
	}
	return launch(ctx, o, addr, dir, previous)
}

// launch starts etcd in a directory that this process has taken, and gives that
// back if it fails.
func launch(ctx context.Context, o Options, addr *net.TCPAddr, dir *dataDir, previous Holder) (*Server, error) {
	s := &Server{
		dir:      dir,
		trap:     newTrap(o.Dir),
		died:     make(chan error, 1),
		stopping: make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if err := s.begin(ctx, o, addr, previous); err != nil {
		// The context may be what failed it; closing is not to be cut short.
		if stopErr := s.Stop(context.WithoutCancel(ctx)); !s.trap.isSprung() {
			err = errors.Join(err, stopErr)
		}
		return nil, err
	}
	s.watched = make(chan struct{})
	ctx, s.uncompact = context.WithCancel(context.Background())
	s.compacting.Go(func() { s.compactor().run(ctx) })
	go s.watch()
	return s, nil
}

// Client is a client inside the process: it skips the network and is more than
// twice as fast. The server owns it and closes it in Stop.
func (s *Server) Client() *clientv3.Client { return s.client }

// Endpoints are for clients on this machine: the TCP URL first, if there is
// one, and always the socket's.
func (s *Server) Endpoints() []string { return slices.Clone(s.endpoints) }

// Err delivers one error if the server dies by itself, and nothing when it is
// stopped. The process should end then: Stop releases what it can, but after a
// [*FatalError] the data directory stays locked until the process has ended.
func (s *Server) Err() <-chan error { return s.died }

// watch waits for the death of the server. Stop ends it and waits for it.
func (s *Server) watch() {
	defer close(s.watched)
	var err error
	select {
	case <-s.stopping:
		return
	case <-s.trap.sprung:
		err = s.trap.err
	case err = <-s.etcd.Err():
		err = endedError(err)
	case <-s.etcd.Server.StopNotify():
		err = endedError(nil)
	}
	select {
	case <-s.stopping: // that was Stop's doing
		return
	default:
	}
	s.died <- err
}

// endedError makes an error of what etcd says of its own end, often nothing.
func endedError(err error) error {
	if err == nil {
		return errors.New("etcd stopped by itself")
	}
	return fmt.Errorf("etcd stopped by itself: %w", err)
}
