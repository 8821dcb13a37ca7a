package etcdserver

import (
	"net"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// grpcServers are those that etcd made, one for each address, and their
// connections. etcd's own Close stops them gracefully, waiting seconds for
// streams that never end, such as other processes' watches. Stopped before, they
// leave it nothing to wait for.
type grpcServers struct {
	mu      sync.Mutex
	servers []*grpc.Server
	conns   map[*conn]struct{}
	stopped bool
}

// add is called by etcd as each begins to serve, which may be after stop.
func (g *grpcServers) add(s *grpc.Server) {
	g.mu.Lock()
	g.servers = append(g.servers, s)
	stopped := g.stopped
	g.mu.Unlock()
	if stopped {
		s.Stop()
	}
}

// stop closes the connections itself, as a grpc.Server would first wait two
// minutes for those on which nobody has said anything yet.
func (g *grpcServers) stop() {
	g.mu.Lock()
	g.stopped = true
	servers := g.servers
	var conns []*conn
	for c := range g.conns {
		conns = append(conns, c)
	}
	g.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // whatever it says, nobody is to use it any more
	}
	for _, s := range servers {
		s.Stop()
	}
}

// option has gRPC show its new connections to tracked.
func (g *grpcServers) option() grpc.ServerOption {
	return grpc.Creds(tracked{insecure.NewCredentials(), g})
}

// tracked is no credentials at all: the place where a grpc.Server hands out a
// connection before it reads from it.
type tracked struct {
	credentials.TransportCredentials
	servers *grpcServers
}

func (w tracked) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, info, err := w.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return w.servers.track(c), info, nil
}

func (w tracked) Clone() credentials.TransportCredentials {
	return tracked{w.TransportCredentials.Clone(), w.servers}
}

// conn is in the set from its handshake until it is closed, by either side.
type conn struct {
	net.Conn
	servers *grpcServers
}

func (g *grpcServers) track(raw net.Conn) net.Conn {
	c := &conn{Conn: raw, servers: g}
	g.mu.Lock()
	if g.conns == nil {
		g.conns = make(map[*conn]struct{})
	}
	g.conns[c] = struct{}{}
	stopped := g.stopped
	g.mu.Unlock()
	if stopped {
		_ = c.Close() // gRPC notices and gives it up
	}
	return c
}

func (c *conn) Close() error {
	c.servers.mu.Lock()
	delete(c.servers.conns, c)
	c.servers.mu.Unlock()
	return c.Conn.Close()
}
