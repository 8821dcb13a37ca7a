package etcdserver

import (
	"context"
	"expvar"
	"fmt"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// electEvery is how often a member that has no leader yet is told to elect
// itself. That it is told once or twice is usual.
const electEvery = 5 * time.Millisecond

// awaitReady waits until the member leads, has applied its log and answers.
func (s *Server) awaitReady(ctx context.Context) error {
	defer s.logs.electing.Store(false)
	tick := time.NewTicker(electEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.etcd.Server.ReadyNotify():
			return nil
		case <-s.trap.sprung:
			return s.trap.err
		case err := <-s.etcd.Err():
			return endedError(err)
		case <-s.etcd.Server.StopNotify():
			return endedError(nil)
		case <-ctx.Done():
			return fmt.Errorf("start etcd: %w", context.Cause(ctx))
		case <-tick.C:
			elect(ctx, s.etcd.Server)
		}
	}
}

// elect makes a member that has no leader campaign at once. A member that is
// alone is its own majority, and still waits for an election time-out first:
// 0.1 to 1 s with etcd's settings. Shorter ones would keep the machine awake for
// as long as etcd runs.
//
// The message is the one by which a leader that steps down hands over. If it is
// lost or comes too early, the next one or the time-out does.
func elect(ctx context.Context, m *etcdserver.EtcdServer) {
	if m.Leader() != 0 || !appliedLog(m) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, electEvery)
	defer cancel()
	id := uint64(m.MemberID())
	_ = m.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &id, From: &id})
}

// appliedLog tells whether raft knows that all it has committed is applied.
// Before, it looks through the rest for changes of membership, which forbid a
// campaign, and panics when it comes to what the server has applied and
// compacted without having told it yet. The server's own AppliedIndex is ahead
// of raft's by just that. raft's is published for /debug/vars only, and there by
// the last server that this process has started.
func appliedLog(m *etcdserver.EtcdServer) bool {
	published, _ := expvar.Get("raft.status").(expvar.Func)
	if published == nil {
		return false
	}
	status, ok := published.Value().(raft.Status)
	return ok && status.ID == uint64(m.MemberID()) && status.Applied > 0 && status.Applied == status.GetCommit()
}
