package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Stop closes the client and the server, removes the socket and gives the data
// directory back. It takes some tens of milliseconds: requests in flight fail,
// streams of other processes are cut, and their leases live on in the data.
//
// Calls after the first wait for the same end and return the same error. If ctx
// ends first, the closing goes on and the error says so. After the server gave
// up by itself with a [*FatalError] nothing more can be closed, the error says
// that too, and the directory stays locked until the process ends.
func (s *Server) Stop(ctx context.Context) error {
	s.stop.Do(func() {
		close(s.stopping)
		go s.shutdown()
	})
	select {
	case <-s.stopped:
		return s.stopErr
	case <-ctx.Done():
		return fmt.Errorf("etcd in %s is still closing: %w", s.dir.path, context.Cause(ctx))
	}
}

// shutdown closes in the reverse order of begin. What a start did not come to
// is skipped.
func (s *Server) shutdown() {
	defer close(s.stopped)
	s.logs.stopping.Store(true)
	errs := []error{s.dir.record(Stopping, s.socketDir, nil)}
	if s.uncompact != nil {
		s.uncompact()
	}
	closed := s.closeEtcd()
	if s.watched != nil {
		<-s.watched
	}
	errs = append(errs, removeSocketDir(s.socketDir))
	if !closed {
		errs = append(errs, s.dir.record(Failed, "", nil))
		keepLocked(s.dir)
		s.stopErr = errors.Join(append(errs, fmt.Errorf("the data directory stays locked: %w", s.trap.err))...)
		return
	}
	s.stopErr = errors.Join(append(errs, s.dir.close())...)
}

// closeEtcd reports whether everything is closed, which after the trap sprung
// it never is.
func (s *Server) closeEtcd() bool {
	if s.trap.isSprung() {
		return false
	}
	if s.etcd == nil {
		return true
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.compacting.Wait()
		if s.client != nil {
			_ = s.client.Close() // always that of its own cancelled context
		}
		s.grpc.stop()
		select {
		case <-s.etcd.Server.ReadyNotify():
		default:
			// Close waits for addresses to be served first, which happens when the
			// server is ready or has stopped.
			s.etcd.Server.HardStop()
		}
		s.etcd.Close()
	}()
	select {
	case <-closed:
		return true
	case <-s.trap.sprung:
		return false
	}
}

// lockedForever keeps locks from being collected, and with that released, that
// must last as long as the process: etcd still has files open behind them.
var lockedForever struct {
	sync.Mutex
	dirs []*dataDir
}

func keepLocked(d *dataDir) {
	lockedForever.Lock()
	defer lockedForever.Unlock()
	lockedForever.dirs = append(lockedForever.dirs, d)
}
