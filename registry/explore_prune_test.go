package registry

import (
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// prunes is what a pruner makes of a hint: he deletes the row that it speaks
// of with it, or it alone.
func (x *explorer) prunes(s *evaluator, kv *mvccpb.KeyValue) []*call {
	if !x.world.pruned {
		return nil
	}
	h := must(x.t.k.readHint(kv))
	id := h.ended[0].ID
	if there, ok := x.row(s, id); ok && h.speaksOf(h.ended[0], there) {
		tr := x.t.prune(s.kvs[x.t.k.process(id)], there)
		tr.then = append(tr.then, remove(string(kv.Key)))
		return []*call{{transition: tr, kind: "prune", id: id, believe: askedNothing}}
	}
	return []*call{{transition: x.t.forgetHint(h), kind: "forget hint", id: id, believe: askedNothing}}
}

// mayGo says whether the row of a process may be deleted.
func (x *explorer) mayGo(there row) bool { return x.world.pruned && there.ended() }

// mayLandAgain says whether a call may be applied twice: a late copy of a start
// is a new start once the process is pruned.
func (x *explorer) mayLandAgain(c *call) bool {
	return c.kind == "forget" || x.world.pruned && c.kind == "start"
}

// bornAt is the revision at which the process of a call was started.
func (x *explorer) bornAt(s *evaluator, id string) int64 {
	if kv := s.kvs[x.t.k.process(id)]; kv != nil && x.world.pruned {
		return kv.CreateRevision
	}
	return 0
}

// forgotten says whether what a call is about was pruned: then nothing tells
// its sender any more that it was he who did it. (Nobody prunes what ended
// less than a minute ago, or an hour if it may not run twice, or asks for as long.)
func (x *explorer) forgotten(s *evaluator, c *call) bool {
	return x.world.pruned && c.landed > 0 && c.id != "" && (c.kind == "start" || x.bornAt(s, c.id) != c.born)
}

// forgive is what a belief is worth when that is so.
func (x *explorer) forgive(s *evaluator, c *call, what string) string {
	if x.forgotten(s, c) && !strings.Contains(what, "holds the claim") {
		return ""
	}
	return what
}
