package registry

import (
	"context"
	"fmt"
)

// A process is suspected when a node dies under it, and a session that ends is
// all that others see of a death. After an outage of etcd's, or of the network
// to it, sessions end whose nodes live. An adoption does not count against the
// process if
//
//   - the node that held it lives: it has opened a later session. A node that
//     was started again is another one; or
//   - nobody can know: the session was over before the one of who adopts began,
//     who had lost its own and found nobody who had kept one all the while.
//
// Proof of death goes before both.

// loss says how the attempt under the claim ended.
func (o Orphan) loss() string {
	if o.outage && !o.Proved() {
		return LostInOutage
	}
	return SessionLost
}

// succession is what a session has of the one that it replaces: the life of
// their node, and the sessions whose ends nobody saw. Without one, a life begins.
func (r *Registry) succession(ctx context.Context, lost *Session) (life string, unseen map[string]bool, err error) {
	if lost == nil {
		life, err = newNonce()
		return life, nil, err
	}
	lost.mu.Lock()
	life = lost.record.value.Life
	lost.mu.Unlock()
	roster, err := r.roster(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("look for what ended with session %s: %w", lost.ID(), err)
	}
	return life, unseenEnds(roster, life, lost.CreateRevision()), nil
}

// unseenEnds are the sessions that are over, as a node finds them that lost its
// own, which began at that revision. Where another one stands that is older,
// somebody was there all the while.
func unseenEnds(roster []Node, life string, began int64) map[string]bool {
	unseen := map[string]bool{}
	for _, n := range roster {
		switch {
		case n.Alive && n.created < began && n.value.Life != life:
			return nil
		case n.created == 0:
			unseen[n.Session] = true
		}
	}
	return unseen
}

// findSurvivors notes which nodes have outlived a session of theirs: those that
// hold a later one.
func findSurvivors(roster []Node) {
	latest := map[string]int64{} // by life
	for _, n := range roster {
		if n.Alive {
			latest[n.value.Life] = max(latest[n.value.Life], n.created)
		}
	}
	for i := range roster {
		n := &roster[i]
		n.survived = !n.Alive && n.value.Life != "" && n.recorded < latest[n.value.Life]
	}
}
