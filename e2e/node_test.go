package e2e

import (
	"strings"
	"syscall"
)

// node is a drover serve on a cluster, or a program that embeds a node, behind proxies of its own.
type node struct {
	*program // the present one
	c        *cluster
	name     string
	launch   func() *program
	proxies  []*proxy // to each member
}

// serve starts a node and returns once it takes work. Its witness is as the flags have it.
func (c *cluster) serve(name string, args ...string) *node {
	c.t.Helper()
	n := &node{c: c, name: name}
	for _, m := range c.members {
		n.proxies = append(n.proxies, newProxy(c.t, "tcp", "127.0.0.1:0", m.config.Client))
	}
	n.launch = func() *program {
		return launch(c.t, append([]string{"serve", "--endpoints", n.endpoints(), "--node", n.name}, args...)...)
	}
	n.start()
	n.ready()
	return n
}

// endpoints are its ways to the members.
func (n *node) endpoints() string { return proxied(n.proxies) }

func proxied(proxies []*proxy) string {
	var all []string
	for _, p := range proxies {
		all = append(all, "http://"+p.addr())
	}
	return strings.Join(all, ",")
}

func (n *node) start() {
	if n.program != nil {
		n.replaced = true
	}
	n.program = n.launch()
}

// ready waits until it takes work.
func (n *node) ready() {
	n.c.t.Helper()
	n.says(n.readyLine())
}

// isReady says whether it has taken work since it was started.
func (n *node) isReady() bool { return strings.Contains(n.output.String(), n.readyLine()) }

func (n *node) readyLine() string { return "ready node=" + n.name + " " }

// alive says whether its process is there, be it stopped.
func (n *node) alive() bool {
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

// restart kills the node if it runs, and starts it again.
func (n *node) restart() {
	n.c.t.Helper()
	n.kill()
	n.start()
}

// freeze stops the process as it is, thaw lets it go on. Of one that is gone they do nothing.
func (n *node) freeze() { _ = n.cmd.Process.Signal(syscall.SIGSTOP) }
func (n *node) thaw()   { _ = n.cmd.Process.Signal(syscall.SIGCONT) }

// network does the same to all of its ways to etcd: n.network((*proxy).blackhole).
func (n *node) network(what func(*proxy)) {
	for _, p := range n.proxies {
		what(p)
	}
}
