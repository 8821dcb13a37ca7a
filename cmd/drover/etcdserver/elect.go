package etcdserver

import (
	"context"
	"fmt"
	"time"

	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/raft/v3/raftpb"
)

// electEvery is how often a member that has no leader yet is told to elect
// itself. That it is told once or twice is usual.
const electEvery = 5 * time.Millisecond

// awaitReady waits until the member leads, has applied its log and answers.
func (s *Server) awaitReady(ctx context.Context) error {
	s.logs.electing.Store(true)
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
	applied := m.AppliedIndex()
	if m.Leader() != 0 || applied == 0 || applied < m.CommittedIndex() {
		return // raft refuses while a change of membership waits in the log
	}
	ctx, cancel := context.WithTimeout(ctx, electEvery)
	defer cancel()
	id := uint64(m.MemberID())
	_ = m.Process(ctx, &raftpb.Message{Type: raftpb.MsgTimeoutNow.Enum(), To: &id, From: &id})
}
