package lease

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// proxy stands between a client and its server. Cut, it swallows what both
// send, and leaves the connections open: what a network does that loses its
// packets, and a stopped server does not.
type proxy struct {
	listener net.Listener
	network  string // of the server
	server   string
	severed  chan struct{}
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn // nil once the proxy is closed
}

func newProxy(t *testing.T, endpoint string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{
		listener: l,
		network:  "tcp",
		severed:  make(chan struct{}),
		conns:    []net.Conn{},
	}
	scheme, server, _ := strings.Cut(endpoint, "://")
	p.server = server
	if scheme == "unix" {
		p.network = "unix"
	}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) client(t *testing.T) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + p.listener.Addr().String()},
		Logger:    zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *proxy) cut() { close(p.severed) }

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.running.Wait()
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := net.DialTimeout(p.network, p.server, 5*time.Second)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		if p.conns == nil {
			p.mu.Unlock()
			_, _ = near.Close(), far.Close()
			return
		}
		p.conns = append(p.conns, near, far)
		p.mu.Unlock()
		p.running.Go(func() { p.forward(near, far) })
		p.running.Go(func() { p.forward(far, near) })
	}
}

func (p *proxy) forward(from, to net.Conn) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-p.severed:
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
