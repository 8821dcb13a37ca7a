package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

func healthOf(t *testing.T, r *Registry) Health {
	t.Helper()
	h, err := r.Health(t.Context())
	noErr(t, err)
	return h
}

func TestHealthOfWhatIsWell(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{})
	s := join(t, r, "n")
	start(t, r, "p")
	claim(t, r, s, "p")
	start(t, r, "q")
	h := healthOf(t, r)
	if !h.Reachable || len(h.Problems) > 0 || len(h.Unknown) > 0 || len(h.Alarms) > 0 {
		t.Errorf("it is not well: %+v", h)
	}
	if len(h.Members) != 1 || h.Leader != "default" {
		t.Fatalf("%s leads %+v", h.Leader, h.Members)
	}
	m := h.Members[0]
	if m.Endpoint != server.Endpoint() || m.Name != "default" || !m.Leads || m.Size <= 0 || m.InUse <= 0 || m.InUse > m.Size || m.Quota <= m.Size || m.Version == "" {
		t.Errorf("its member is %+v", m)
	}
	if len(h.Nodes) != 1 || h.Nodes[0].Running != 1 || len(h.Queues) != 1 || h.Queues[0].Pending != 1 || len(h.Orphans) != 0 {
		t.Errorf("it is %+v", h)
	}
}

func TestHealthNamesWhatIsWrong(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	start(t, r, "orphan")
	claim(t, r, s, "orphan")
	start(t, r, "unserved", Queue("other"))
	start(t, r, "paused", Queue("paused"))
	noErr(t, r.Pause(t.Context(), "paused", ""))
	leave(t, s)
	h := healthOf(t, r)
	want := []string{
		"1 processes of node n, whose session is over, are orphans",
		"1 processes are pending in the queue other, which no node serves",
	}
	if !slices.Equal(h.Problems, want) {
		t.Errorf("the problems are %q", h.Problems)
	}
	if len(h.Orphans) != 1 || h.Orphans[0] != (Left{Node: "n", Session: s.ID(), Count: 1}) {
		t.Errorf("the orphans are %+v", h.Orphans)
	}
}

func TestHealthOfAnEtcdThatIsGone(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{RequestTimeout: 500 * time.Millisecond})
	server.Stop()
	h := healthOf(t, r)
	if h.Reachable || len(h.Members) != 1 || h.Members[0].Error == "" || len(h.Problems) != 2 ||
		!strings.HasPrefix(h.Problems[0], "the registry can't be read: etcd can't be reached") ||
		!strings.HasPrefix(h.Problems[1], "the etcd at "+server.Endpoint()+" does not answer") {
		t.Errorf("it is %+v", h)
	}
	mine := errors.New("mine")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(mine)
	_, err := r.Health(ctx)
	wantErr(t, err, mine)
}

func TestHealthOfAnEtcdWithoutSpace(t *testing.T) {
	server := etcdtest.New(t)
	client := server.Client(t)
	r := registryOn(t, client, Options{})
	// As the server raises it when its file has reached the quota.
	_, err := clientv3.RetryMaintenanceClient(client, client.ActiveConnection()).Alarm(t.Context(), &etcdserverpb.AlarmRequest{
		Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_NOSPACE,
		MemberID: memberOf(t, client),
	})
	noErr(t, err)
	h := healthOf(t, r)
	if !h.Reachable || !slices.Equal(h.Alarms, []string{"NOSPACE"}) || len(h.Problems) != 1 || !strings.HasPrefix(h.Problems[0], "etcd is out of space") {
		t.Errorf("it is %+v", h)
	}
}

func memberOf(t *testing.T, client *clientv3.Client) uint64 {
	t.Helper()
	resp, err := client.MemberList(t.Context())
	noErr(t, err)
	return resp.Members[0].ID
}

func TestHealthJudgesSpace(t *testing.T) {
	for _, c := range []struct {
		m    Member
		want string
	}{
		{Member{Endpoint: "e", leader: 1, Size: 79, InUse: 79, Quota: 100}, ""},
		{Member{Endpoint: "e", leader: 1, Size: 81, InUse: 80, Quota: 100}, "the data of the etcd at e fills 80 % of its quota: prune, or raise the quota"},
		{Member{Endpoint: "e", leader: 1, Size: 90, InUse: 10, Quota: 100}, "the file of the etcd at e fills 90 % of its quota, its data 10 %: defragment it"},
		{Member{Endpoint: "e", leader: 1, Size: 80, InUse: 79, Quota: 100}, "the file of the etcd at e fills 80 % of its quota, its data 79 %: defragment it"},
		{Member{Endpoint: "e", leader: 1, Size: 90, InUse: 90}, ""}, // of nothing known
		{Member{Endpoint: "e"}, "the etcd at e has no leader"},
		{Member{Endpoint: "e", Error: "refused"}, "the etcd at e does not answer: refused"},
	} {
		h := Health{Members: []Member{c.m}}
		h.judgeMembers()
		if got := strings.Join(h.Problems, "; "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.m, got, c.want)
		}
	}
}
