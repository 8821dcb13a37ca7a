package etcdtest

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

// shared is the package's server, started by the first test that asks.
var shared struct {
	once sync.Once
	node *node
	err  error
}

// Client returns a new client of the server that the tests of the package
// share. It is closed when t ends. Tests keep apart by their [Namespace].
func Client(t testing.TB) *clientv3.Client {
	t.Helper()
	n, err := start()
	if err != nil {
		t.Fatalf("etcdtest: shared server: %v", err)
	}
	return n.client(t)
}

func start() (*node, error) {
	shared.once.Do(func() { shared.node, shared.err = newNode() })
	return shared.node, shared.err
}

// ExampleClient is [Client] for an example, which has no test to end with: it
// is the caller's to close. It panics where a test would fail.
func ExampleClient() *clientv3.Client {
	n, err := start()
	if err != nil {
		panic(err)
	}
	c, err := n.dial()
	if err != nil {
		panic(err)
	}
	return c
}

var namespaces atomic.Int64

// Namespace returns a namespace of t's own: legal, and not used by any other
// test of this process, nor by another run of the same one (-count).
func Namespace(t testing.TB) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'A' && r <= 'Z', r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '-'
	}, t.Name())
	return fmt.Sprintf("%.40s-%d", name, namespaces.Add(1))
}

// Main runs a package's tests, closes the shared server and reports goroutines
// that are left over. It is the body of a TestMain, and does not return:
//
//	func TestMain(m *testing.M) { etcdtest.Main(m) }
func Main(m *testing.M) {
	code := m.Run()
	if shared.node != nil {
		shared.node.remove()
	}
	if code == 0 {
		// Without exceptions: once its clients are closed, and its gRPC server
		// is stopped before it, etcd 3.7 leaves nothing behind.
		if err := goleak.Find(); err != nil {
			fmt.Fprintf(os.Stderr, "etcdtest: %v\n", err)
			code = 1
		}
	}
	os.Exit(code)
}
