package etcdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
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

// Option is how a server is to be other than by default.
type Option func(*embed.Config)

// Quota is how many bytes the file of its database may have: 2 GiB by default.
func Quota(bytes int64) Option {
	return func(c *embed.Config) { c.QuotaBackendBytes = bytes }
}

// CompactEvery has it compact its history as it goes, and keep that of so long:
// all by default.
func CompactEvery(d time.Duration) Option {
	return func(c *embed.Config) {
		c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModePeriodic, d.String()
	}
}

// New starts a server that belongs to t alone. It is stopped, and its data
// removed, when t ends.
func New(t testing.TB, options ...Option) *Server {
	t.Helper()
	n, err := newNode(options...)
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
// "unix:///<path>", or "http://<host>:<port>" on Windows. It stays the same over
// a restart.
func (s *Server) Endpoint() string { return s.node.url.String() }

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

// Dir is where the server keeps its data. Between Stop and Restart it may be
// changed, as by restoring a backup.
func (s *Server) Dir() string { return filepath.Join(s.node.dir, "data") }

// node is one embedded member with its directory.
type node struct {
	dir     string
	url     url.URL // of clients
	options []Option

	mu   sync.Mutex // guards the rest
	etcd *embed.Etcd
	grpc *grpc.Server
}

func newNode(options ...Option) (*node, error) {
	dir, err := shortTempDir()
	if err != nil {
		return nil, err
	}
	n := &node{dir: dir, options: options}
	if n.url, err = clientURL(dir); err != nil {
		n.remove()
		return nil, err
	}
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

// clientURL is a socket in dir. The path of one on Windows makes no URL, so
// there it is a port that was free a moment ago.
func clientURL(dir string) (url.URL, error) {
	if runtime.GOOS != "windows" {
		return url.URL{Scheme: "unix", Path: filepath.Join(dir, "s")}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return url.URL{}, err
	}
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}, nil
}

func (n *node) config() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(n.dir, "data")
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{n.url}, []url.URL{n.url}
	// A single member never dials its peers, so it needs no known port.
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.UnsafeNoFsync = true
	cfg.BcryptCost = 4 // the least: a login else takes a second under the race detector
	cfg.EnableGRPCGateway = false
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	cfg.ServiceRegister = func(g *grpc.Server) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.grpc = g
	}
	for _, option := range n.options {
		option(cfg)
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

func (n *node) dial() (*clientv3.Client, error) { return dial(n.url.String()) }

func dial(endpoint string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:            []string{endpoint},
		DialTimeout:          dialTimeout,
		DialKeepAliveTime:    keepAliveTime,
		DialKeepAliveTimeout: keepAliveTimeout,
		Logger:               zap.NewNop(),
	})
}
