package etcdserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.uber.org/zap"
)

// portTries is how often a free port is looked for, which somebody else may
// take between probe and etcd's own listening.
const portTries = 3

// begin does what Start does once the lock is held. Stop undoes it, however far
// it came.
func (s *Server) begin(ctx context.Context, o Options, addr *net.TCPAddr, previous Holder) error {
	if err := removeSocketDir(previous.SocketDir); err != nil && o.Logger != nil {
		o.Logger.Warn("left the socket directory of a killed process", zap.Error(err)) // it harms nothing
	}
	if err := s.survey(o.Dir); err != nil {
		return err
	}
	s.logs.electing.Store(true) // raft's own time-out may pass while etcd reads its data
	if err := s.open(o, addr); err != nil {
		return err
	}
	if err := s.awaitReady(ctx); err != nil {
		return err
	}
	s.client = v3client.New(s.etcd.Server)
	return s.dir.record(Serving, s.socketDir, s.endpoints)
}

func (s *Server) survey(dir string) error {
	err := s.dir.survey()
	switch {
	case errors.Is(err, errDatabaseHeld):
		return &InUseError{Dir: dir}
	case err != nil:
		return &FatalError{Dir: dir, Msg: "can't read the database", Err: err}
	}
	return nil
}

// open has etcd listen, read its data and begin to serve.
func (s *Server) open(o Options, addr *net.TCPAddr) error {
	for try := 1; ; try++ {
		tcp, err := probe(addr, o.Listen)
		if err != nil {
			return err
		}
		if err := s.openSocketDir(); err != nil {
			return err
		}
		err = s.startEtcd(o, tcp)
		switch {
		case err == nil:
			return nil
		case addr == nil || !errors.Is(err, syscall.EADDRINUSE):
			return err
		case addr.Port != 0 || try == portTries:
			return &PortError{Addr: o.Listen}
		}
	}
}

// openSocketDir has the directory on record before it exists: a process that is
// killed at any moment leaves it to the next one to remove.
func (s *Server) openSocketDir() (err error) {
	if s.socketDir == "" {
		s.socketDir, err = makeSocketDir(func(dir string) error {
			return s.dir.record(Starting, dir, nil)
		})
	}
	return err
}

// startEtcd runs embed.StartEtcd on a goroutine of its own, which is given up
// if etcd does: it is then blocked in the trap.
func (s *Server) startEtcd(o Options, tcp *net.TCPAddr) error {
	c := config(s.dir.etcd(), s.socketDir, tcp)
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(s.logs.logger(o.Logger, s.trap))
	c.ServiceRegister = s.grpc.add
	c.GRPCAdditionalServerOptions = append(c.GRPCAdditionalServerOptions, s.grpc.option())
	s.endpoints = nil
	for i := range c.AdvertiseClientUrls {
		s.endpoints = append(s.endpoints, c.AdvertiseClientUrls[i].String())
	}

	failed := make(chan error, 1)
	go func() {
		defer func() {
			if r := recover(); r != nil {
				s.trap.spring(&FatalError{Dir: o.Dir, Msg: "can't read its data", Err: fmt.Errorf("panic: %v", r)})
			}
		}()
		e, err := embed.StartEtcd(c)
		s.etcd = e // read after the receive below, or never
		failed <- err
	}()
	select {
	case err := <-failed:
		if err != nil {
			return &FatalError{Dir: o.Dir, Msg: "can't start", Err: err}
		}
		return nil
	case <-s.trap.sprung:
		return s.trap.err
	}
}
