package supervisor_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
	"github.com/drover-run/drover/supervisor"
)

// troubled is a node whose etcd gets into trouble.
type troubled struct {
	*ranch
	server *etcdtest.Server
	root   *clientv3.Client // past the proxy
	node   *supervisor.Node
	logs   *observer.ObservedLogs
	ttl    time.Duration // of its session; the least if zero
}

func newTroubled(t *testing.T, client func(*etcdtest.Server) *clientv3.Client) *troubled {
	t.Helper()
	server := etcdtest.New(t)
	x := &troubled{ranch: newRanch(t), server: server, root: server.Client(t)}
	core, logs := observer.New(zap.InfoLevel)
	x.logs = logs
	reg, err := registry.Open(t.Context(), client(server), registry.Options{Namespace: "trouble", Logger: zap.New(core)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	x.registry = reg
	x.handle("noop", noop)
	return x
}

// begin starts the node.
func (x *troubled) begin() {
	x.t.Helper()
	c := x.config()
	c.TTL = cmp.Or(x.ttl, c.TTL)
	core, logs := observer.New(zap.InfoLevel)
	x.logs = logs
	c.Logger = zap.New(core)
	x.node = x.start(c)
	x.well()
}

func (x *troubled) well() {
	x.t.Helper()
	defer x.explain()
	soon(x.t, "the node is healthy", func() bool {
		h := x.node.Health()
		return h.Healthy && h.Ready && len(h.Problems) == 0
	})
}

// ill waits until the node says this of itself.
func (x *troubled) ill(says string) (h supervisor.Health) {
	x.t.Helper()
	defer x.explain()
	soon(x.t, "the node says "+says, func() bool {
		h = x.node.Health()
		return !h.Healthy && strings.Contains(strings.Join(h.Problems, "\n"), says)
	})
	return h
}

func (x *troubled) explain() {
	if x.t.Failed() {
		x.t.Logf("at last: %+v", x.node.Health())
		for _, line := range x.logs.All() {
			x.t.Logf("%s %s %v", line.Time.Format(time.TimeOnly), line.Message, line.ContextMap())
		}
	}
}

// works shows that the node goes on.
func (x *troubled) works(id string) {
	x.t.Helper()
	x.process(id, "noop")
	x.completed(id)
}

// said counts the lines of the log with this message.
func (x *troubled) said(message string) int { return x.logs.FilterMessage(message).Len() }

// saidOnce fails for each message that was logged more or less often.
func (x *troubled) saidOnce(messages ...string) {
	x.t.Helper()
	for _, message := range messages {
		if n := x.said(message); n != 1 {
			x.t.Errorf("%q was logged %d times, want once", message, n)
		}
	}
}

// newProxied has its client's connections go through a proxy.
func newProxied(t *testing.T) (x *troubled, proxy *etcdtest.Proxy) {
	t.Helper()
	x = newTroubled(t, func(s *etcdtest.Server) *clientv3.Client {
		proxy = s.Proxy()
		return proxy.Client(t)
	})
	return x, proxy
}

func clientOf(t *testing.T) func(*etcdtest.Server) *clientv3.Client {
	return func(s *etcdtest.Server) *clientv3.Client { return s.Client(t) }
}

func TestNodeOutlivesARestartOfEtcd(t *testing.T) {
	t.Parallel()
	x := newTroubled(t, clientOf(t))
	x.ttl = 10 * time.Second
	x.begin()
	session := x.node.Health().Session.ID
	for i := range 3 {
		x.server.Restart()
		x.works(fmt.Sprintf("p%d", i))
		x.well()
	}
	if got := x.node.Health().Session.ID; got != session {
		t.Errorf("the session is %s, it was %s: a restart costs nothing", got, session)
	}
}

func TestNodeGoesOnAfterEtcdWasAwayForLongerThanItsTTL(t *testing.T) {
	t.Parallel()
	x := newTroubled(t, clientOf(t))
	lingering := newLingering()
	x.handle("lingering", lingering.run)
	x.begin()
	x.process("p", "lingering")
	<-lingering.entered
	before := x.node.Health()
	x.server.Stop()
	h := x.ill("there is no session since ")
	if h.Ready || h.Session.ID != "" || !strings.Contains(h.Session.Why, "etcd does not answer") {
		t.Errorf("health while etcd is away: %+v", h.Session)
	}
	lingering.want(t, runner.ErrLeaseLost)
	// However often it is tried, it is one trouble.
	soon(t, "some tries", func() bool {
		h = x.node.Health()
		return h.Session.Since.Before(time.Now().Add(-3*time.Second)) &&
			x.said("no session could be opened, it is tried until one can be") > 0 &&
			x.said("a drive failed, the next are logged once one succeeds") > 0
	})
	want := "there is no session since " + h.Session.Since.Format(time.RFC3339) + ", so nothing runs: etcd does not answer"
	if len(h.Problems) != 1 || h.Problems[0] != want || h.Drives != nil {
		t.Errorf("without a session: %q, want %q; drives %+v, want nothing of them", h.Problems, want, h.Drives)
	}
	x.server.Restart()
	if got := <-lingering.entered; got != "p" {
		t.Fatalf("entered %s, want p", got)
	}
	if p := x.get("p"); p.Attempt != 2 || p.Adoptions != 0 {
		t.Errorf("p: attempt %d, %d adoptions; want the second, and none: its node lives", p.Attempt, p.Adoptions)
	}
	x.works("q")
	x.well()
	if after := x.node.Health(); after.Session.ID == before.Session.ID || after.Session.ID == "" {
		t.Errorf("session %s after %s", after.Session.ID, before.Session.ID)
	}
	x.saidOnce(
		"session lost, another one is opened",
		"no session could be opened, it is tried until one can be", "a session could be opened",
		"a drive failed, the next are logged once one succeeds", "drives succeed again",
	)
	if n := x.logs.FilterLevelExact(zap.WarnLevel).Len(); n > 6 {
		t.Errorf("%d warnings for one outage", n)
		x.explain()
	}
	if err := x.node.Stop(brief(t)); err != nil { // p goes on until it is told
		t.Error(err)
	}
}

// What runs longer than etcd is ever there is run again and again, and is not
// taken for what kills nodes.
func TestOutagesDoNotQuarantine(t *testing.T) {
	t.Parallel()
	x, proxy := newProxied(t)
	lingering := newLingering()
	x.handle("lingering", lingering.run)
	x.begin()
	x.process("p", "lingering")
	<-lingering.entered
	const outages = 4 // three deaths would be too many
	for range outages {
		proxy.Away(true)
		x.ill("there is no session since ")
		proxy.Away(false)
		x.well()
		soon(t, "it is run again, or has ended", func() bool {
			select {
			case <-lingering.entered:
				return true
			default:
				return x.get("p").Ended()
			}
		})
	}
	p := x.get("p")
	if p.Status != registry.StatusRunning || p.Attempt != outages+1 || p.Adoptions != 0 || len(p.History) != outages {
		t.Fatalf("p is %s in attempt %d after %d adoptions: %s", p.Status, p.Attempt, p.Adoptions, p.OutcomeReason)
	}
	for _, past := range p.History {
		if past.Error != "session lost in an outage" {
			t.Errorf("attempt %d: %s", past.Attempt, past.Error)
		}
	}
	if err := x.node.Stop(brief(t)); err != nil { // p goes on until it is told
		t.Error(err)
	}
}

// alarm raises or clears the alarm that etcd is out of space.
func (x *troubled) alarm(action pb.AlarmRequest_AlarmAction) {
	x.t.Helper()
	request := &pb.AlarmRequest{Action: action, Alarm: pb.AlarmType_NOSPACE}
	list, err := x.root.MemberList(x.t.Context())
	if err != nil {
		x.t.Fatal(err)
	}
	request.MemberID = list.Members[0].ID
	if _, err := pb.NewMaintenanceClient(x.root.ActiveConnection()).Alarm(x.t.Context(), request); err != nil {
		x.t.Fatal(err)
	}
}

func TestNodeHoldsOutcomesWhileEtcdIsOutOfSpace(t *testing.T) {
	t.Parallel()
	x := newTroubled(t, clientOf(t))
	var mu sync.Mutex
	ran := map[string]int{}
	entered, finish := make(chan string, 10), make(chan struct{})
	x.handle("patient", func(_ context.Context, a *runner.Attempt) (any, error) {
		mu.Lock()
		ran[a.ID()]++
		mu.Unlock()
		entered <- a.ID()
		<-finish
		return "what it found", nil
	})
	x.ttl = 3 * time.Second // what follows takes longer
	x.begin()
	session := x.node.Health().Session.ID
	ids := []string{"a", "b", "c"}
	for _, id := range ids {
		x.process(id, "patient")
		<-entered
	}
	for i := range 20 {
		// What is not claimed yet when the alarm comes.
		spec := registry.Spec{ID: fmt.Sprintf("later%d", i), Kind: "noop", Disposition: registry.Rerunnable,
			Delay: registry.Duration(1500 * time.Millisecond)}
		if _, err := x.registry.Start(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
	}
	x.alarm(pb.AlarmRequest_ACTIVATE)
	close(finish)
	h := x.ill("held back in memory")
	soon(t, "all are held back", func() bool {
		h = x.node.Health()
		return len(h.HeldBack) == 3
	})
	if h.HeldBack[0].Kind != "patient" || !strings.Contains(h.HeldBack[0].Why, "out of space") {
		t.Errorf("held back: %+v", h.HeldBack)
	}
	h = x.ill("drives fail since ")
	if h.Drives == nil || !strings.Contains(h.Drives.Why, "etcd is out of space and refuses writes") {
		t.Errorf("drives: %+v", h.Drives)
	}
	soon(t, "the session is renewed meanwhile", func() bool {
		return time.Since(x.node.Health().HeldBack[0].Since) > 4*time.Second
	})
	for _, id := range ids {
		if p := x.get(id); p.Status != registry.StatusRunning {
			t.Errorf("%s is %s, want running", id, p.Status)
		}
	}
	x.alarm(pb.AlarmRequest_DEACTIVATE)
	x.completed(ids...)
	for i := range 20 {
		x.completed(fmt.Sprintf("later%d", i))
	}
	x.well()
	mu.Lock()
	defer mu.Unlock()
	for _, id := range ids {
		if p := x.get(id); ran[id] != 1 || p.Attempt != 1 || string(p.Output) != `"what it found"` {
			t.Errorf("%s ran %d times, attempt %d, output %s; want once and what it found", id, ran[id], p.Attempt, p.Output)
		}
	}
	if got := x.node.Health().Session.ID; got != session {
		t.Errorf("the session is %s, it was %s", got, session)
	}
	x.saidOnce(
		"etcd does not take how an attempt ended, it is kept in memory until it does", "nothing is kept any more that etcd did not take",
		"a drive failed, the next are logged once one succeeds", "drives succeed again",
	)
}

func TestWatchThatIsCompactedAgainAndAgain(t *testing.T) {
	t.Parallel()
	x, proxy := newProxied(t)
	x.ttl = 10 * time.Second
	x.begin()
	session := x.node.Health().Session.ID
	for i := range 6 {
		proxy.Away(true)
		var revision int64
		for range 10 {
			resp, err := x.root.Put(t.Context(), "/trouble/v1/pending/other/k/1/00000000000000000000/"+fmt.Sprint(i), "")
			if err != nil {
				t.Fatal(err)
			}
			revision = resp.Header.Revision
		}
		if _, err := x.root.Compact(t.Context(), revision); err != nil {
			t.Fatal(err)
		}
		proxy.Away(false)
		x.works(fmt.Sprintf("p%d", i))
	}
	x.well()
	if got := x.node.Health().Session.ID; got != session {
		t.Errorf("the session is %s, it was %s", got, session)
	}
	soon(t, "the watch stands again", func() bool { return x.said("the watch stands again") == 1 })
	if n := x.said("the watch was lost, a new one is made"); n != 1 {
		t.Errorf("its loss was logged %d times, want once", n)
	}
}

func TestConnectionsCutAgainAndAgain(t *testing.T) {
	t.Parallel()
	x, proxy := newProxied(t)
	x.ttl = 10 * time.Second
	x.begin()
	session := x.node.Health().Session.ID
	for i := range 30 {
		proxy.Sever()
		x.works(fmt.Sprintf("p%d", i))
	}
	x.well()
	if got := x.node.Health().Session.ID; got != session {
		t.Errorf("the session is %s, it was %s", got, session)
	}
}

func TestHalfOpenConnectionCostsNoMoreThanTheSession(t *testing.T) {
	t.Parallel()
	x, proxy := newProxied(t)
	x.begin()
	begun := time.Now()
	proxy.Swallow()
	x.ill("the session is not renewed since ")
	x.ill("there is no session since ")
	x.works("p")
	x.well()
	// 10 s without a word, 3 s for an answer to that, and what it takes to
	// connect and to open a session.
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestPermissionIsWithdrawnAndGivenBack(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	x := newTroubled(t, func(s *etcdtest.Server) *clientv3.Client {
		root := s.Client(t)
		for _, err := range []error{
			second(root.UserAdd(ctx, "root", "secret")), second(root.UserGrantRole(ctx, "root", "root")),
			second(root.RoleAdd(ctx, "herd")), second(root.RoleGrantPermission(ctx, "herd", "/trouble/", "/trouble0", clientv3.PermissionType(clientv3.PermReadWrite))),
			second(root.UserAdd(ctx, "node", "secret")), second(root.UserGrantRole(ctx, "node", "herd")),
			second(root.AuthEnable(ctx)),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		return login(t, s, "node")
	})
	x.root = login(t, x.server, "root")
	entered, finish := make(chan string, 1), make(chan struct{})
	var once sync.Once
	defer once.Do(func() { close(finish) })
	x.handle("patient", func(_ context.Context, a *runner.Attempt) (any, error) {
		entered <- a.ID()
		<-finish
		return "what it found", nil
	})
	x.ttl = 10 * time.Second
	x.begin()
	x.process("a", "patient")
	<-entered
	if _, err := x.root.UserRevokeRole(ctx, "node", "herd"); err != nil {
		t.Fatal(err)
	}
	once.Do(func() { close(finish) })
	h := x.ill("drives fail since ")
	if !strings.Contains(h.Drives.Why, "etcd refused permission: check the user, its password and its roles") {
		t.Errorf("drives: %+v", h.Drives)
	}
	h = x.ill("held back in memory")
	if len(h.HeldBack) != 1 || h.HeldBack[0].ID != "a" {
		t.Errorf("held back: %+v", h.HeldBack)
	}
	if _, err := x.root.UserGrantRole(ctx, "node", "herd"); err != nil {
		t.Fatal(err)
	}
	x.completed("a")
	x.works("b")
	x.well()
	if p := x.get("a"); p.Attempt != 1 || string(p.Output) != `"what it found"` {
		t.Errorf("a: attempt %d, output %s; want the first, and what it found", p.Attempt, p.Output)
	}
}

func second[T any](_ T, err error) error { return err }

func login(t *testing.T, s *etcdtest.Server, user string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{s.Endpoint()}, Username: user, Password: "secret", DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestSessionThatSomebodyEndsIsReplaced(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]struct {
		how func(ctx context.Context, c *clientv3.Client, key string, id clientv3.LeaseID) error
		why string
	}{
		"its key is deleted": {func(ctx context.Context, c *clientv3.Client, key string, _ clientv3.LeaseID) error {
			return second(c.Delete(ctx, key))
		}, "its key was deleted"},
		"its lease is detached": {func(ctx context.Context, c *clientv3.Client, key string, _ clientv3.LeaseID) error {
			return second(c.Put(ctx, key, "{}"))
		}, "its key was "}, // put without its lease, or deleted by who saw that first
		"its lease is revoked": {func(ctx context.Context, c *clientv3.Client, _ string, id clientv3.LeaseID) error {
			return second(c.Revoke(ctx, id))
		}, "its lease expired or was revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newTroubled(t, clientOf(t))
			x.begin()
			sid := x.node.Health().Session.ID
			var id int64
			if _, err := fmt.Sscanf(sid, "%x", &id); err != nil {
				t.Fatal(err)
			}
			if err := end.how(t.Context(), x.root, "/trouble/v1/session/"+sid, clientv3.LeaseID(id)); err != nil {
				t.Fatal(err)
			}
			soon(t, "it has another session", func() bool {
				s := x.node.Health().Session
				return s.ID != "" && s.ID != sid
			})
			x.works("p")
			x.well()
			if lost := x.logs.FilterMessage("session lost, another one is opened"); lost.Len() != 1 ||
				!strings.Contains(fmt.Sprint(lost.All()[0].ContextMap()["why"]), end.why) {
				t.Errorf("logged %v, want one that says %s", lost.All(), end.why)
			}
			soon(t, "nothing is left of the old session", func() bool { return len(x.nodes()) == 1 })
		})
	}
}

func TestRestoredBackupEndsTheSession(t *testing.T) {
	t.Parallel()
	x := newTroubled(t, clientOf(t))
	x.begin()
	x.works("before")
	x.server.Stop()
	backup := t.TempDir() + "/data"
	if err := os.CopyFS(backup, os.DirFS(x.server.Dir())); err != nil {
		t.Fatal(err)
	}
	x.server.Restart()
	for i := range 50 {
		x.works(fmt.Sprintf("forgotten%d", i))
	}
	x.well()
	sid := x.node.Health().Session.ID
	x.server.Stop()
	if err := os.RemoveAll(x.server.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(x.server.Dir(), os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	x.server.Restart()
	soon(t, "it has another session", func() bool {
		s := x.node.Health().Session
		return s.ID != "" && s.ID != sid
	})
	x.works("after")
	// By the watch, and not by the poll alone: the old one waits for revisions
	// that are far away.
	x.well()
	x.works("after that")
}
