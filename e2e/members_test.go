package e2e

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// cluster is an etcd of three members, each a process of its own. Clients reach them by TCP, the members each other
// through proxies.
type cluster struct {
	t       *testing.T
	members []*member
}

// clusterOptions are for newCluster. The zero value is usable.
type clusterOptions struct {
	Fsync bool  // as in production, for what it costs
	Quota int64 // bytes; 0: etcd's default
	Size  int   // members; 0: three
}

// newCluster starts the members and returns once they have a leader.
func newCluster(t *testing.T, o clusterOptions) *cluster {
	t.Helper()
	if o.Size == 0 {
		o.Size = 3
	}
	c := &cluster{t: t}
	root, err := os.MkdirTemp("", "c") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	var names []string
	for i := range o.Size {
		names = append(names, "m"+itoa(i+1))
	}
	for _, name := range names {
		m := &member{
			t: t, dir: filepath.Join(root, name), peers: map[string]*proxy{},
			config: memberConfig{Name: name, Client: freePort(t), Peers: names, Fsync: o.Fsync, Quota: o.Quota},
		}
		m.endpoint = "http://" + m.config.Client
		if err := os.Mkdir(m.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		c.members = append(c.members, m)
	}
	for _, m := range c.members {
		for _, other := range c.members {
			if other != m {
				name := peerSocket(other.config.Name)
				m.peers[other.config.Name] = newProxy(t, "unix", filepath.Join(m.dir, name), filepath.Join(other.dir, name))
			}
		}
	}
	t.Cleanup(c.close)
	for _, m := range c.members {
		m.start()
	}
	c.leader()
	return c
}

func (c *cluster) close() {
	for _, m := range c.members {
		m.kill()
		if c.t.Failed() {
			c.t.Logf("etcd %s said:\n%s", m.config.Name, m.said())
		}
	}
}

// endpoints are those of all members, without any proxy, as the command line takes them.
func (c *cluster) endpoints() string {
	var all []string
	for _, m := range c.members {
		all = append(all, m.endpoint)
	}
	return strings.Join(all, ",")
}

// client reaches all members, without any proxy. It is closed with the test.
func (c *cluster) client() *clientv3.Client { return dial(c.t, c.endpoints()) }

// dial is a client of the endpoints, which commas separate.
func dial(t testing.TB, endpoints string) *clientv3.Client {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: strings.Split(endpoints, ","), DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// commands is the command line against the cluster.
func (c *cluster) commands() client { return client{c.t, c.endpoints()} }

// leader waits until the members have one that a majority follows.
func (c *cluster) leader() *member {
	c.t.Helper()
	var found *member
	eventually(c.t, "the members to have a leader", func() bool {
		found = c.leads()
		return found != nil
	})
	return found
}

// leads is who leads now; nil if nobody does, or nobody knows.
func (c *cluster) leads() *member {
	votes := map[uint64]int{} // of those who answer
	ids := map[uint64]*member{}
	for _, m := range c.members {
		if s := m.status(); s != nil && s.Leader != 0 {
			votes[s.Leader]++
			ids[s.Header.MemberId] = m
		}
	}
	for id, n := range votes {
		if n > len(c.members)/2 && ids[id] != nil {
			return ids[id]
		}
	}
	return nil
}

// status is what the member says of itself; nil if it does not answer.
func (m *member) status() *clientv3.StatusResponse {
	if !m.alive() {
		return nil
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{m.endpoint}, Logger: zap.NewNop()})
	if err != nil {
		return nil
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s, err := client.Status(ctx, m.endpoint)
	if err != nil {
		return nil
	}
	return s
}

// moveLeader makes another member the leader. Without a leader it does nothing.
func (c *cluster) moveLeader() {
	from := c.leads()
	if from == nil {
		return
	}
	i := slices.Index(c.members, from)
	for _, to := range append(slices.Clone(c.members[i+1:]), c.members[:i]...) {
		s := to.status()
		if s == nil {
			continue
		}
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{from.endpoint}, Logger: zap.NewNop()})
		if err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		_, err = client.MoveLeader(ctx, s.Header.MemberId)
		cancel()
		_ = client.Close()
		if err == nil {
			return
		}
	}
}

// isolate keeps a member from the others, which it can still be reached beside: its clients find an etcd without a
// leader, or one that believes for a while to be it.
func (c *cluster) isolate(m *member) {
	for _, other := range c.members {
		if other != m {
			m.peers[other.config.Name].blackhole()
			other.peers[m.config.Name].blackhole()
		}
	}
}

// heal makes everything between the members well, starts who is gone and thaws who is frozen.
func (c *cluster) heal() {
	c.t.Helper()
	for _, m := range c.members {
		for _, p := range m.peers {
			p.heal()
		}
		if m.alive() {
			m.thaw()
		} else {
			m.start()
		}
	}
}
