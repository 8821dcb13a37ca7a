package etcdtest

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Proxy stands between clients and a server, and does what networks do.
type Proxy struct {
	listener net.Listener
	server   string
	running  sync.WaitGroup

	mu    sync.Mutex
	links map[*link]bool // nil once the proxy is closed
	away  bool
}

// link is one connection through the proxy.
type link struct {
	near, far net.Conn
	swallows  bool // guarded by Proxy.mu
}

// Proxy makes a proxy of the server. It is closed when the server's test ends.
func (s *Server) Proxy() *Proxy {
	s.t.Helper()
	dir, err := shortTempDir()
	if err != nil {
		s.t.Fatalf("etcdtest: %v", err)
	}
	l, err := (&net.ListenConfig{}).Listen(s.t.Context(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		s.t.Fatalf("etcdtest: %v", err)
	}
	p := &Proxy{listener: l, server: strings.TrimPrefix(s.Endpoint(), "unix://"), links: map[*link]bool{}}
	p.running.Go(p.accept)
	s.t.Cleanup(func() {
		p.close()
		_ = os.RemoveAll(dir)
	})
	return p
}

// Endpoint is that of the proxy, as a client's configuration takes it.
func (p *Proxy) Endpoint() string { return "unix://" + p.listener.Addr().String() }

// Client returns a new client that goes through the proxy. It is closed when t
// ends.
func (p *Proxy) Client(t testing.TB) *clientv3.Client {
	t.Helper()
	c, err := dial(p.Endpoint())
	if err != nil {
		t.Fatalf("etcdtest: client: %v", err)
	}
	t.Cleanup(func() { _ = c.Close() }) // the error is that of a cancelled context
	return c
}

// Swallow makes the connections that there are half-open: what is sent on them
// gets lost, and nobody is told. Later ones work.
func (p *Proxy) Swallow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.swallows = true
	}
}

// Sever closes the connections that there are. Later ones work.
func (p *Proxy) Sever() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.close()
	}
}

// Away closes the connections that there are and refuses others, until it is
// called with false.
func (p *Proxy) Away(away bool) {
	p.mu.Lock()
	p.away = away
	p.mu.Unlock()
	if away {
		p.Sever()
	}
}

func (p *Proxy) close() {
	_ = p.listener.Close() // whatever it says, it accepts nothing more
	p.Sever()
	p.mu.Lock()
	p.links = nil
	p.mu.Unlock()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		far, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(context.Background(), "unix", p.server)
		if err != nil {
			_ = near.Close()
			continue
		}
		l := &link{near: near, far: far}
		p.mu.Lock()
		ok := p.links != nil && !p.away
		if ok {
			p.links[l] = true
			p.running.Go(func() { p.forward(l, near, far) })
			p.running.Go(func() { p.forward(l, far, near) })
		}
		p.mu.Unlock()
		if !ok {
			l.close()
		}
	}
}

func (p *Proxy) forward(l *link, from, to net.Conn) {
	defer func() {
		l.close()
		p.mu.Lock()
		delete(p.links, l)
		p.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		p.mu.Lock()
		swallows := l.swallows
		p.mu.Unlock()
		if swallows {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// close may be called twice, which does nothing.
func (l *link) close() { _, _ = l.near.Close(), l.far.Close() }
