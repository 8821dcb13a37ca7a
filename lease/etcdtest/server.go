package etcdtest

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

const (
	// startTimeout is far more than a start needs (about 0.2 s), as tests of
	// several packages may share two cores.
	startTimeout = 60 * time.Second

	dialTimeout = 5 * time.Second
	// A half-open connection is noticed after 10 + 3 s. gRPC clamps anything
	// below 10 s up to it.
	keepAliveTime    = 10 * time.Second
	keepAliveTimeout = 3 * time.Second

	// The kernel's limit for a socket's path is 108 bytes on Linux and 104 on
	// the BSDs, the terminating zero included.
	maxSocketPath = 103
)

// Server is an etcd server of one test.
type Server struct {
	t    testing.TB
	node *node
}

// New starts a server that belongs to t alone. It is stopped, and its data
// removed, when t ends.
func New(t testing.TB) *Server {
	t.Helper()
	n, err := newNode()
	if err != nil {
		t.Fatalf("etcdtest: %v", err)
	}
	t.Cleanup(n.remove)
	return &Server{t: t, node: n}
}

// Client returns a new client of the server. It is closed when t ends, which
// must be no later than the end of the test that made the server.
func (s *Server) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	return s.node.client(t)
}

// Endpoint is the server's address, as a client's configuration takes it:
// "unix:///<path>". It stays the same over a restart.
func (s *Server) Endpoint() string { return s.node.endpoint() }

// Stop stops the server and cuts the connections of its clients; requests in
// flight fail. Clients stay usable and reconnect after a Restart. Stopping a
// stopped server does nothing.
func (s *Server) Stop() { s.node.stop() }

// Restart stops the server if it runs and starts it again with the same data,
// at the same address. As with any new leader, leases get their full TTL again.
func (s *Server) Restart() {
	s.t.Helper()
	s.node.stop()
	if err := s.node.start(); err != nil {
		s.t.Fatalf("etcdtest: restart: %v", err)
	}
}

// node is one embedded member with its directory.
type node struct {
	dir string

	mu   sync.Mutex // guards the rest
	etcd *embed.Etcd
	grpc *grpc.Server
}

func newNode() (*node, error) {
	dir, err := shortTempDir()
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir}
	if err := n.start(); err != nil {
		n.remove()
		return nil, err
	}
	return n, nil
}

// shortTempDir makes a private directory whose socket's path fits and can be
// written in a URL. t.TempDir is no use: it contains the name of the test.
func shortTempDir() (string, error) {
	parent := os.TempDir()
	if len(parent) > maxSocketPath-40 || strings.ContainsAny(parent, "%#?") {
		parent = "/tmp"
	}
	return os.MkdirTemp(parent, "drover-etcd-")
}

func (n *node) socket() string   { return filepath.Join(n.dir, "s") }
func (n *node) endpoint() string { return "unix://" + n.socket() }

func (n *node) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(n.dir, "data")
	client := url.URL{Scheme: "unix", Path: n.socket()}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	// A single member never dials its peers, so it needs no known port.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ServiceRegister = func(g *grpc.Server) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.grpc = g
	}
	return cfg
}

func (n *node) start() error {
	e, err := embed.StartEtcd(n.config())
	if err != nil {
		return fmt.Errorf("start etcd: %w", err)
	}
	n.mu.Lock()
	n.etcd = e
	n.mu.Unlock()

	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	select {
	case <-e.Server.ReadyNotify():
		return nil
	case err := <-e.Err():
		n.stop()
		return fmt.Errorf("start etcd: %w", err)
	case <-timeout.C:
		n.stop()
		return errors.New("start etcd: not ready in " + startTimeout.String())
	}
}

func (n *node) stop() {
	n.mu.Lock()
	e, g := n.etcd, n.grpc
	n.etcd, n.grpc = nil, nil
	n.mu.Unlock()
	// Close alone would wait for the streams of our clients until its request
	// timeout, 7 s.
	if g != nil {
		g.Stop()
	}
	if e != nil {
		e.Close()
	}
}

func (n *node) remove() {
	n.stop()
	// The directory is private and under the temporary one: what cannot be
	// removed harms nothing and fails no test.
	_ = os.RemoveAll(n.dir)
}

func (n *node) client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := n.dial()
	if err != nil {
		t.Fatalf("etcdtest: client: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the error is that of a cancelled context
	return c
}

func (n *node) dial() (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:            []string{n.endpoint()},
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               zap.NewNop(),
	})
}
