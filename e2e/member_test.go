package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
)

// memberVariable makes this test binary a member of an etcd cluster. It holds the memberConfig in JSON.
const memberVariable = "E2E_ETCD_MEMBER"

// memberConfig is what a member is told.
type memberConfig struct {
	Name   string
	Client string   // host:port
	Peers  []string // names of all members, and of their sockets in the working directory
	Fsync  bool
	Quota  int64 // bytes; 0: etcd's default
}

// member is one etcd, an OS process of its own.
type member struct {
	t        testing.TB
	config   memberConfig
	dir      string
	cmd      *exec.Cmd // nil before the first start
	stdin    io.Closer // the member ends when its parent is gone
	exited   chan struct{}
	endpoint string
	peers    map[string]*proxy // what it says to the others, by their names
}

var portsGiven atomic.Int64

func itoa(n int) string { return strconv.Itoa(n) }

// memberMain is the member's main. Sockets of peers are relative to the working directory, so each member reaches the
// others under the same names by ways of its own, which are proxies.
func memberMain(config string) error {
	var m memberConfig
	if err := json.Unmarshal([]byte(config), &m); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the parent
		os.Exit(0)
	}()
	c := embed.NewConfig()
	c.Name, c.Dir = m.Name, "data"
	client := url.URL{Scheme: "http", Host: m.Client}
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
	var initial []string
	for _, name := range m.Peers {
		peer := url.URL{Scheme: "unix", Host: peerSocket(name)}
		initial = append(initial, name+"="+peer.String())
		if name == m.Name {
			c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{peer}, []url.URL{peer}
		}
	}
	c.InitialCluster = strings.Join(initial, ",")
	c.UnsafeNoFsync, c.QuotaBackendBytes = !m.Fsync, m.Quota
	c.EnableGRPCGateway = false
	c.LogLevel, c.LogOutputs = "warn", []string{"log"}
	e, err := embed.StartEtcd(c)
	if err != nil {
		return err
	}
	return <-e.Err()
}

// peerSocket has the form of a host and a port, as etcd makes the address of one.
func peerSocket(name string) string { return name + ":1" }

// start starts the member, with the data that it has.
func (m *member) start() {
	m.t.Helper()
	if m.alive() {
		m.t.Fatalf("etcd %s runs already", m.config.Name)
	}
	config, err := json.Marshal(m.config)
	if err != nil {
		m.t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		m.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(m.dir, peerSocket(m.config.Name))) // a killed one leaves it behind
	cmd := exec.Command(self)
	cmd.Dir, cmd.Env = m.dir, append(os.Environ(), memberVariable+"="+string(config))
	out, err := os.OpenFile(filepath.Join(m.dir, "output"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		m.t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if m.stdin, err = cmd.StdinPipe(); err == nil {
		err = cmd.Start()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.cmd, m.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) {
		defer close(exited)
		_ = cmd.Wait() // killed, mostly
	}(m.exited)
}

// alive says whether its process is there, be it stopped.
func (m *member) alive() bool {
	if m.cmd == nil {
		return false
	}
	select {
	case <-m.exited:
		return false
	default:
		return true
	}
}

// kill is SIGKILL. Killing one that is gone does nothing.
func (m *member) kill() {
	if m.alive() {
		_ = m.cmd.Process.Kill() // it may have ended by itself
		<-m.exited
	}
}

// freeze stops the process as it is, thaw lets it go on.
func (m *member) freeze() { m.signal(syscall.SIGSTOP) }
func (m *member) thaw()   { m.signal(syscall.SIGCONT) }

func (m *member) signal(s syscall.Signal) {
	m.t.Helper()
	if !m.alive() {
		m.t.Fatalf("etcd %s is gone: %s", m.config.Name, m.said())
	}
	if err := m.cmd.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// said is the end of what it printed.
func (m *member) said() string {
	var all strings.Builder
	for _, file := range []string{"output", "log"} {
		b, _ := os.ReadFile(filepath.Join(m.dir, file)) // absent before the first start
		fmt.Fprintf(&all, "%s", b[max(0, len(b)-4<<10):])
	}
	return all.String()
}

// slow is the delay of everything that it says to other members.
func (m *member) slow(by time.Duration) {
	for _, p := range m.peers {
		p.slow(by)
	}
}
