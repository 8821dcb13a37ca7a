package registry

import (
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxBytes is etcd's default limit of 1.5 MiB for a request, less what it
	// wraps around it.
	maxBytes = 1536<<10 - 64<<10
	// wrapping is more bytes than are put around one condition or operation.
	wrapping = 48
)

// member is a transition on its way, alone or in a batch.
type member struct {
	tr    transition
	alone bool
	width int // conditions, or operations of one branch, whichever are more
	bytes int // encoded, at the most

	answered chan reply // takes the one reply without anybody waiting for it
	left     bool       // nobody waits for the reply; guarded by batching.mu
}

type reply struct {
	resp *clientv3.TxnResponse
	err  error
}

func newMember(tr transition, alone bool) *member {
	m := &member{
		tr: tr, alone: alone || tr.alone || tr.id == "",
		width:    max(len(tr.when), len(tr.then), len(tr.otherwise)),
		bytes:    wrapping,
		answered: make(chan reply, 1),
	}
	for i := range tr.when {
		c := tr.when[i].GetCompare()
		m.bytes += wrapping + len(c.Key) + len(c.RangeEnd) + len(c.GetValue())
	}
	for _, ops := range [][]clientv3.Op{tr.then, tr.otherwise} {
		for _, op := range ops {
			m.bytes += wrapping + len(op.KeyBytes()) + len(op.RangeBytes()) + len(op.ValueBytes())
		}
	}
	return m
}

// batch is a request to etcd that holds several transitions as nested
// transactions, each with its own conditions and its own answer. etcd evaluates
// the conditions of all of them on the state before any has written, and then
// does what they say one after the other. So no two may be about the same
// process: a claim and a cancel of one id would both succeed.
type batch struct {
	members []*member
	ids     map[string]bool
	width   int // of its widest member
	bytes   int
}

// add takes m in, if the rules allow it. The first is always taken: what is
// too large even alone is for etcd to refuse.
//
// etcd counts the nested transactions, and on top of them what the widest one
// holds; it does not add up what each holds.
func (b *batch) add(m *member) bool {
	width, bytes := max(b.width, m.width), b.bytes+m.bytes
	if n := len(b.members); n > 0 {
		if b.members[0].alone || m.alone || b.ids[m.tr.id] || n+1+width > maxOps || bytes > maxBytes {
			return false
		}
	} else {
		b.ids = map[string]bool{}
	}
	b.members, b.width, b.bytes = append(b.members, m), width, bytes
	b.ids[m.tr.id] = true
	return true
}

// request is what the batch is to etcd. What several members ask (that their
// session is alive, that their queue is as read) it asks once for all: that is
// a good part of etcd's work. A single transition is sent as it is.
func (b *batch) request() (when []clientv3.Cmp, then, otherwise []clientv3.Op) {
	if len(b.members) == 1 {
		tr := b.members[0].tr
		return tr.when, tr.then, tr.otherwise
	}
	asked := map[condition]int{}
	for _, m := range b.members {
		for i := range m.tr.when {
			asked[conditionOf(m.tr.when[i])]++
		}
	}
	for _, m := range b.members {
		var own []clientv3.Cmp
		for _, c := range m.tr.when {
			is := conditionOf(c)
			switch n := asked[is]; {
			case n < 0: // it is asked for all already
			case n > 1 && is != condition{} && len(when) < len(b.members): // no more than add counted
				when, asked[is] = append(when, c), -1
			default:
				own = append(own, c)
			}
		}
		then = append(then, clientv3.OpTxn(own, m.tr.then, m.tr.otherwise))
	}
	return when, then, nil
}

// condition tells conditions on one key apart.
type condition struct {
	key    string
	target etcdserverpb.Compare_CompareTarget
	result etcdserverpb.Compare_CompareResult
	number int64
}

// conditionOf is nothing for what is not worth to be recognised: conditions on
// values and on ranges. Nor that there is room: were it asked for all, a batch
// with a start in it would be torn apart, again and again, while there is none.
func conditionOf(c clientv3.Cmp) condition {
	p := c.GetCompare()
	if p.Target == etcdserverpb.Compare_VALUE || len(p.RangeEnd) > 0 || p.Result != etcdserverpb.Compare_EQUAL {
		return condition{}
	}
	// Only the one of its target is set.
	number := p.GetCreateRevision() + p.GetModRevision() + p.GetVersion() + p.GetLease()
	return condition{string(p.Key), p.Target, p.Result, number}
}

// answers takes etcd's answer apart, in the order of the members. There are
// none if a condition that is asked for all did not hold: then nothing was
// done, and nothing is known of any of them.
func (b *batch) answers(resp *clientv3.TxnResponse) []*clientv3.TxnResponse {
	if len(b.members) == 1 {
		return []*clientv3.TxnResponse{resp}
	}
	if !resp.Succeeded {
		return nil
	}
	each := make([]*clientv3.TxnResponse, len(b.members))
	for i, r := range resp.Responses {
		each[i] = (*clientv3.TxnResponse)(r.GetResponseTxn())
		each[i].Header = resp.Header // theirs say nothing
	}
	return each
}

// deliver tells each member what became of the request.
func (b *batch) deliver(resp *clientv3.TxnResponse, err error) {
	var each []*clientv3.TxnResponse
	if err == nil {
		each = b.answers(resp)
	}
	if len(b.members) > 1 && (definite(err) || err == nil && each == nil) {
		err = errApart
	}
	for i, m := range b.members {
		if err != nil {
			m.answered <- reply{err: err}
		} else {
			m.answered <- reply{resp: each[i]}
		}
	}
}
