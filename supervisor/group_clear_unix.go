//go:build linux || darwin

package supervisor

import (
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/drover-run/drover/supervisor/internal/witness"
)

const (
	minGroupPause = time.Millisecond
	maxGroupPause = 100 * time.Millisecond

	// groupWarning is how long members may take to die before somebody is told. A page being written takes less.
	groupWarning = 5 * time.Second
)

// clear returns when the leader, a zombie, is all that is left of the group. What the leader left behind is killed at
// once, unless the group was told to stop and its grace is not over.
func (g *Group) clear() {
	begun, warned := time.Now(), false
	for pause := minGroupPause; ; pause = min(2*pause, maxGroupPause) {
		killed := g.strike()
		// After the blow, for only then nobody is being born whom this look could miss.
		left, err := g.left()
		switch {
		case err == nil && left == 0 && killed:
			return
		case err == nil && left == 0:
			g.Stop(0) // nobody seems to be there to use the grace
			continue
		case killed && !warned && time.Since(begun) > groupWarning:
			warned = true
			g.logger.Warn("what a command left behind does not die", zap.Int("pgid", g.pid), zap.Int("left", left), zap.Error(err))
		}
		select {
		case <-g.hurry:
			pause = minGroupPause
		case <-time.After(pause):
		}
	}
}

// strike kills the group, unless its grace goes on.
func (g *Group) strike() (killed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended = true
	if g.stopping == nil {
		g.killed = true
	}
	if g.killed {
		g.signal(unix.SIGKILL)
	}
	return g.killed
}

// left counts the living members.
func (g *Group) left() (int, error) {
	members, err := witness.Members(g.pid)
	living := 0
	for _, p := range members {
		switch {
		case !p.Dead:
			living++
		case p.PID != g.pid && p.Parent == os.Getpid():
			// In a container this process may be number 1, which inherits all orphans; nobody else would reap them.
			_, _ = unix.Wait4(p.PID, nil, unix.WNOHANG, nil)
		}
	}
	return living, err
}
