package supervisor

import (
	"syscall"
	"testing"
)

// Only the leader: the kernel signals no further. Its children are what the witness is for.
func TestLeaderDiesWithNodeAndWitnessTogether(t *testing.T) {
	n := startNode(t)
	pgid := n.start("-", `trap "" TERM HUP; while :; do sleep 0.05; done`, 1)
	if err := syscall.Kill(n.witness, syscall.SIGSTOP); err != nil { // it can do nothing any more
		t.Fatal(err)
	}
	n.signal(syscall.SIGKILL)
	if err := syscall.Kill(n.witness, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = n.exit()
	eventually(t, "the leader is gone", func() bool { return !alive(pgid) })
}
