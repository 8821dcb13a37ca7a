package runner

import (
	"hash/fnv"
	"math"
	"time"
)

const (
	// othersWait is how long what is another's to take is left to it, once this
	// node has seen it. It is far more than a drive takes, and less than a
	// person notices.
	othersWait = 200 * time.Millisecond
	// rankWait keeps those apart who come after the one that did not take it.
	rankWait = 25 * time.Millisecond
	// commonWait does so for what the first has put back, for want of room.
	commonWait = 15 * time.Millisecond
	// lastRank is the rank from which on nobody waits for longer.
	lastRank = 8
)

// candidate is a session that may take something, as the herd knows it.
type candidate struct {
	sid    string
	seed   uint64
	weight float64
}

func newCandidate(sid string, weight int) candidate {
	return candidate{sid: sid, seed: hash(sid), weight: float64(max(weight, 1))}
}

// rank is how many candidates come before sid for the process id: the first,
// with 0, is to take it. One that is no candidate comes after all. It is weighted rendezvous hashing: each gets its
// share by weight, every node comes to the same, and when a candidate comes or
// goes only what is or was its own changes hands.
func rank(among []candidate, sid, id string) (n int) {
	if len(among) == 1 && among[0].sid == sid {
		return 0 // it is alone, as most are
	}
	process := hash(id)
	mine := math.Inf(1)
	for _, c := range among {
		if c.sid == sid {
			mine = c.arrival(process)
		}
	}
	for _, c := range among {
		if at := c.arrival(process); at < mine || at == mine && c.sid < sid {
			n++
		}
	}
	return n
}

// arrival is the time, exponentially distributed with the weight as its rate,
// at which the candidate would come for the process: of several, each is the
// first as often as its weight says.
func (c candidate) arrival(process uint64) float64 {
	u := (float64(mix(c.seed^process)>>11) + 0.5) / (1 << 53) // in (0, 1)
	return -math.Log(u) / c.weight
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // it can't fail
	return mix(h.Sum64())
}

// mix spreads what differs in a few bits over all of them: the finalizer of
// splitmix64.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}

// waitFor is how long a node of that rank leaves to others what it has seen.
// common is what anybody may take, as the first has put it back.
func waitFor(rank int, common bool) time.Duration {
	rank = min(rank, lastRank)
	switch {
	case rank == 0:
		return 0
	case common:
		return time.Duration(rank) * commonWait
	default:
		return othersWait + time.Duration(rank-1)*rankWait
	}
}
