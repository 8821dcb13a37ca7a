package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// fullPercent and roomyPercent of the quota: when data fill the one, starts
	// are refused, and no more when they fill less than the other. What is
	// between full and the quota is for what ends processes, and for what is
	// started before the mark stands.
	fullPercent, roomyPercent = 80, 70
	// fullMargin is what the file must have left to its quota, in bytes, and
	// roomyMargin once it had not: some of the largest requests to etcd, which
	// holds them against the size of the file, however much of that is free.
	fullMargin, roomyMargin = 4 << 20, 6 << 20
	// fullAnew is the age at which anybody may clear the mark, and not only
	// who sees that the member has room which was full.
	fullAnew = time.Minute
)

// Space is how much room etcd has, and whether processes may be started.
type Space struct {
	// Members that answered; a Quota of 0 is one that is not known.
	Members []Member
	// Full: starts are refused, until there is room.
	Full bool
	// Nodes that live: who looks after the space can share it with them.
	Nodes int
}

// Fills says which part of its quota the data of the fullest member fill, 1
// being all of it; 0 if no quota is known.
func (s Space) Fills() float64 {
	most := 0.0
	for _, m := range s.Members {
		if m.Quota > 0 {
			most = max(most, float64(m.InUse)/float64(m.Quota))
		}
	}
	return most
}

// Scarce says whether less is kept than by default.
func (s Space) Scarce() bool { return s.Fills() > shrinkCompleted[0] }

// fills is what data fill of the quota, in percent.
func (m Member) fills() int64 {
	if m.Quota <= 0 {
		return 0
	}
	return m.InUse * 100 / m.Quota
}

// full says that there is no room, roomy that there is; between the two lies
// what changes nothing.
func (m Member) full() bool {
	return m.Quota > 0 && (m.fills() >= fullPercent || m.Size >= m.Quota-min(fullMargin, m.Quota/32))
}

func (m Member) roomy() bool {
	return m.Quota <= 0 || m.fills() < roomyPercent && m.Size < m.Quota-min(roomyMargin, m.Quota/20)
}

// CheckSpace asks etcd's members how full they are, and has starts refused, on
// all nodes, once one of them nearly is, and allowed again when there is room
// ([ErrFull]). A node asks every few seconds. An etcd that does not say what
// its quota is, such as one before 3.6, is never full.
func (r *Registry) CheckSpace(ctx context.Context) (Space, error) {
	var s Space
	resp, err := r.read(ctx, get(r.keys.full()), clientv3.OpGet(r.keys.session(""), clientv3.WithPrefix(), clientv3.WithCountOnly()))
	if err != nil {
		return s, fmt.Errorf("ask how full etcd is: %w", err)
	}
	var errs []error
	for _, m := range r.members(ctx) {
		if m.Error == "" {
			s.Members = append(s.Members, m)
		} else {
			errs = append(errs, fmt.Errorf("the etcd at %s: %s", m.Endpoint, m.Error))
		}
	}
	if len(s.Members) == 0 {
		return s, fmt.Errorf("ask how full etcd is: %w", errors.Join(errs...))
	}
	s.Nodes = int(resp.Responses[1].GetResponseRange().Count)
	mark := newView(resp.Responses)[r.keys.full()]
	if s.Full, err = r.markSpace(ctx, s.Members, mark); err != nil {
		return s, fmt.Errorf("say how full etcd is: %w", err)
	}
	return s, nil
}

// markSpace puts the mark, or clears the one that was read, if need be, and
// says whether it stands.
func (r *Registry) markSpace(ctx context.Context, members []Member, mark *mvccpb.KeyValue) (full bool, err error) {
	member, change := judgeSpace(members, mark != nil, readFull(mark), r.now())
	switch {
	case !change && mark == nil:
		return false, nil
	case !change:
		r.remark(ctx, members, mark)
		return true, nil
	case mark != nil:
		_, err = r.commit(ctx, r.table.clearFull(mark.ModRevision))
		return err != nil, err
	}
	value, err := encode(fullValue{Since: r.now(), Member: member.ID, Size: member.Size, InUse: member.InUse, Quota: member.Quota})
	if err != nil {
		return false, err
	}
	_, err = r.commit(ctx, r.table.markFull(0, string(value)))
	return err == nil, err
}

// remark brings the mark up to date, for people to read, and for etcd: it counts
// anew what is free when something is written, and where nothing is started it
// may be that nothing else is. What fails here is done by the next who looks.
func (r *Registry) remark(ctx context.Context, members []Member, mark *mvccpb.KeyValue) {
	ctx, cancel := context.WithTimeout(ctx, r.options.RequestTimeout)
	defer cancel()
	v := readFull(mark)
	for _, m := range members {
		if m.ID == v.Member {
			v.Size, v.InUse, v.Quota = m.Size, m.InUse, m.Quota
		}
	}
	if value, err := encode(v); err == nil {
		_, _ = r.commit(ctx, r.table.markFull(mark.ModRevision, string(value)))
	}
}

// judgeSpace says whether the mark is to be put, with the member that is full,
// or to be cleared. A node may see other members than the one that put it does.
func judgeSpace(members []Member, marked bool, mark fullValue, now time.Time) (full Member, change bool) {
	seen := now.Sub(mark.Since) >= fullAnew
	for _, m := range members {
		switch {
		case m.full():
			return m, !marked
		case !m.roomy() && marked:
			return Member{}, false
		}
		seen = seen || m.ID == mark.Member
	}
	return Member{}, marked && seen
}
