package e2e

import (
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// proxy stands between two programs and does to what they say what networks do. It never loses a byte of a connection
// that goes on: what is held comes late, as what TCP sends again does, also long after its sender gave up on it.
type proxy struct {
	network, target string
	listener        net.Listener
	running         sync.WaitGroup

	mu      sync.Mutex // guards the rest
	conns   map[net.Conn]bool
	weather weather
	changed chan struct{} // closed with every change of the weather
	closed  bool
}

// weather is what a proxy does. The zero one lets everything pass.
type weather struct {
	cut      bool          // connections are closed, new ones as soon as they come
	holdUp   bool          // nothing reaches the server, also no end of a connection
	holdDown bool          // nothing reaches the client
	delay    time.Duration // each way
}

// newProxy listens on an address of the network ("tcp", "127.0.0.1:0") for a server on the same kind of network.
func newProxy(t testing.TB, network, listen, target string) *proxy {
	t.Helper()
	l, err := net.Listen(network, listen)
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{network: network, target: target, listener: l, conns: map[net.Conn]bool{}, changed: make(chan struct{})}
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) cut()                  { p.set(weather{cut: true}) }
func (p *proxy) blackhole()            { p.set(weather{holdUp: true, holdDown: true}) } // half-open: nobody is told
func (p *proxy) holdUp()               { p.set(weather{holdUp: true}) }
func (p *proxy) holdDown()             { p.set(weather{holdDown: true}) } // what was asked happens, nobody hears of it
func (p *proxy) slow(by time.Duration) { p.set(weather{delay: by}) }
func (p *proxy) heal()                 { p.set(weather{}) }

func (p *proxy) set(w weather) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.weather = w
	close(p.changed)
	p.changed = make(chan struct{})
	if w.cut {
		p.hangUp()
	}
}

// reset closes the connections; those that come next are under the present weather.
func (p *proxy) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hangUp()
}

// hangUp needs mu.
func (p *proxy) hangUp() {
	for c := range p.conns {
		_ = c.Close()
	}
	clear(p.conns)
}

func (p *proxy) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	close(p.changed)
	p.changed = make(chan struct{})
	p.hangUp()
	p.mu.Unlock()
	p.running.Wait()
}

// now is the weather, and what is closed when it changes.
func (p *proxy) now() (w weather, changed <-chan struct{}, closed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.weather, p.changed, p.closed
}

func (p *proxy) accept() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.connect(near) })
	}
}

func (p *proxy) connect(near net.Conn) {
	if w, _, _ := p.now(); w.cut {
		_ = near.Close()
		return
	}
	far, err := net.DialTimeout(p.network, p.target, 5*time.Second)
	if err != nil {
		_ = near.Close()
		return
	}
	p.mu.Lock()
	if p.closed || p.weather.cut {
		p.mu.Unlock()
		_, _ = near.Close(), far.Close()
		return
	}
	p.conns[near], p.conns[far] = true, true
	p.mu.Unlock()
	p.forward(near, far, func(w weather) bool { return w.holdUp })
	p.forward(far, near, func(w weather) bool { return w.holdDown })
}

// chunk is what was read at once, and when it may go on; empty at the end of the connection.
type chunk struct {
	bytes []byte
	due   time.Time
}

// forward carries one direction. Its end is held and delayed like the bytes before it.
func (p *proxy) forward(from, to net.Conn, held func(weather) bool) {
	const inFlight = 64 // chunks; more of them wait in the sender's own buffers
	chunks := make(chan chunk, inFlight)
	p.running.Go(func() {
		defer close(chunks)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			w, _, closed := p.now()
			if closed {
				return
			}
			if n > 0 {
				chunks <- chunk{b[:n], time.Now().Add(w.delay)}
			}
			if err != nil {
				chunks <- chunk{due: time.Now().Add(w.delay)}
				return
			}
		}
	})
	p.running.Go(func() {
		defer func() {
			_, _ = from.Close(), to.Close()
			p.mu.Lock()
			delete(p.conns, from)
			delete(p.conns, to)
			p.mu.Unlock()
			for range chunks { // the reader must not wait for nobody
			}
		}()
		for c := range chunks {
			if !p.clear(c.due, held) || len(c.bytes) == 0 {
				return
			}
			if _, err := to.Write(c.bytes); err != nil {
				return
			}
		}
	})
}

// clear waits until the time has come and nothing is held; false if the proxy was closed, or cut the connection off.
func (p *proxy) clear(due time.Time, held func(weather) bool) bool {
	for {
		w, changed, closed := p.now()
		wait := time.Until(due)
		switch {
		case closed || w.cut:
			return false
		case held(w):
			<-changed
		case wait > 0:
			select {
			case <-time.After(wait):
			case <-changed:
			}
		default:
			return true
		}
	}
}

// freePort is a port of the loopback interface that no program gets by chance: those that ask for any get others.
func freePort(t testing.TB) string {
	t.Helper()
	const first, ports = 20_000, 10_000
	for i := range ports {
		addr := net.JoinHostPort("127.0.0.1", itoa(first+(os.Getpid()*37+int(portsGiven.Add(1))+i)%ports))
		if l, err := net.Listen("tcp", addr); err == nil {
			_ = l.Close()
			return addr
		}
	}
	t.Fatal("no free port")
	return ""
}
