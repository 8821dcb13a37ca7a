package registry

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// deskBatch is how many rows are read in one request for those who wait.
const deskBatch = 100

// desk serves those who wait: it reads rows, many in one request and each once
// for all who wait for it, and watches done/ for what ends afterwards.
//
// The watch starts right after the revision of the first read, so nothing ends
// unseen in between, and what was read before needs no second look. What the
// watch delivers are hints: the row at the hint's revision decides.
//
// Everything but the run goroutine's own is guarded by the room's mutex.
type desk struct {
	room   *waitingRoom
	cancel context.CancelFunc
	bell   doorbell // there is something to read

	ids     map[string]*awaited
	wanted  []wanted // reads to make, first those that were asked for first
	present int      // waiters that have not left
	watched bool     // a watch stands, or is being set up
}

// awaited is a process that somebody waits for.
type awaited struct {
	waiters map[*waiter]bool
	asked   bool // its row as it is now is to be read
	// hints came while somebody's first read was under way: the end may be
	// later than what that read finds.
	hints []endedAt
}

type endedAt struct {
	series   int
	revision int64
}

// wanted is one row to be read: as it is, or as it was when a hint was put.
type wanted struct {
	id   string
	hint endedAt
	who  []*waiter // for whom it is read as it is
}

// found is a row as it was read. It is nil if there was none.
type found struct {
	row     *row
	process Process
	err     error
}

func (d *desk) add(w *waiter) {
	d.present++
	a := d.ids[w.id]
	if a == nil {
		a = &awaited{waiters: map[*waiter]bool{}}
		d.ids[w.id] = a
	}
	a.waiters[w] = true
	d.ask(w.id, a)
}

func (d *desk) remove(w *waiter) {
	a := d.ids[w.id]
	if a == nil {
		return
	}
	delete(a.waiters, w)
	if len(a.waiters) == 0 {
		delete(d.ids, w.id)
	}
}

// ask has the row read as it is now.
func (d *desk) ask(id string, a *awaited) {
	if a.asked {
		return
	}
	a.asked = true
	d.want(wanted{id: id})
}

func (d *desk) want(w wanted) {
	d.wanted = append(d.wanted, w)
	d.bell.ring()
}

func (d *desk) tell(w *waiter, t told) {
	w.told <- t // of one, and nobody is told twice
	d.remove(w)
}

// run reads what is wanted until ctx ends.
func (d *desk) run(ctx context.Context) {
	var watching sync.WaitGroup
	defer watching.Wait()
	pause := newPause()
	for ctx.Err() == nil {
		batch := d.take()
		if len(batch) == 0 {
			select {
			case <-ctx.Done():
			case <-d.bell:
			}
			continue
		}
		rows, revision, err := d.read(ctx, batch)
		switch {
		case ctx.Err() != nil || d.room.r.client.Ctx().Err() != nil:
			return
		case errors.Is(err, ErrUnavailable):
			d.putBack(batch, err)
			rest(ctx, pause.NextBackOff())
			continue
		case errors.Is(err, ErrCompacted):
			d.lookAgain(batch)
			continue
		}
		pause.Reset()
		if d.deliver(batch, rows, revision, err) {
			watching.Go(func() { d.watch(ctx, revision+1) })
		}
	}
}

// take picks the next reads. Who waits by now is served by them; who comes
// later asks again, for the answer may be older than his question.
func (d *desk) take() []wanted {
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	n := min(len(d.wanted), deskBatch)
	batch := slices.Clone(d.wanted[:n])
	d.wanted = d.wanted[n:]
	for i, one := range batch {
		a := d.ids[one.id]
		if a == nil || one.hint.series != 0 {
			continue
		}
		a.asked = false
		for w := range a.waiters {
			if w.series == 0 {
				batch[i].who = append(batch[i].who, w)
			}
		}
	}
	return batch
}

// read reads the rows, and of those that ended what stands beside them.
func (d *desk) read(ctx context.Context, batch []wanted) ([]found, int64, error) {
	r := d.room.r
	ops := make([]clientv3.Op, len(batch))
	for i, one := range batch {
		ops[i] = clientv3.OpGet(r.keys.process(one.id), clientv3.WithRev(one.hint.revision))
	}
	resp, err := r.read(ctx, ops...)
	if err != nil {
		return nil, 0, err
	}
	rows := make([]found, len(batch))
	var beside []clientv3.Op
	var whose []int
	for i, one := range batch {
		kvs := resp.Responses[i].GetResponseRange().GetKvs()
		if len(kvs) == 0 {
			continue
		}
		there, err := decodeRow(string(kvs[0].Key), one.id, kvs[0].Value)
		rows[i] = found{row: &there, err: err}
		if err != nil || !there.ended() {
			continue
		}
		rows[i].process = there.process()
		at := clientv3.WithRev(cmp.Or(one.hint.revision, resp.Header.Revision))
		if there.spec.InputBytes > 0 {
			beside, whose = append(beside, clientv3.OpGet(r.keys.input(one.id), at)), append(whose, i)
		}
		if there.OutputSize > 0 {
			beside, whose = append(beside, clientv3.OpGet(r.keys.output(one.id), at)), append(whose, i)
		}
	}
	return rows, resp.Header.Revision, d.attach(ctx, rows, beside, whose)
}

// attach reads what stands beside rows.
func (d *desk) attach(ctx context.Context, rows []found, ops []clientv3.Op, whose []int) error {
	for first := 0; first < len(ops); first += maxOps {
		end := min(first+maxOps, len(ops))
		resp, err := d.room.r.read(ctx, ops[first:end]...)
		if err != nil {
			return err
		}
		v := newView(resp.Responses)
		for _, i := range whose[first:end] {
			d.room.r.attach(v, *rows[i].row, &rows[i].process)
		}
	}
	return nil
}

// deliver tells what was read to those whom it concerns. It says whether a
// watch is to be set up for those who are left.
func (d *desk) deliver(batch []wanted, rows []found, revision int64, err error) (watch bool) {
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	for i, one := range batch {
		a := d.ids[one.id]
		switch {
		case a == nil:
		case err != nil:
			d.tellAll(one, a, told{err: err})
		case one.hint.series != 0:
			if there := rows[i].row; there != nil && rows[i].err == nil && there.ended() && there.Series == one.hint.series {
				d.tellAll(one, a, told{process: rows[i].process})
			}
		default:
			d.answer(one, a, rows[i], revision)
		}
	}
	if d.watched || len(d.ids) == 0 {
		return false
	}
	d.watched = true
	return true
}

// tellAll tells those whom a read was made for.
func (d *desk) tellAll(one wanted, a *awaited, t told) {
	for _, w := range one.who {
		if a.waiters[w] {
			d.tell(w, t)
		}
	}
	if one.hint.series == 0 {
		return
	}
	for w := range a.waiters {
		if w.series == one.hint.series {
			d.tell(w, t)
		}
	}
}

// answer is for those who wait for their first look at the row.
func (d *desk) answer(one wanted, a *awaited, f found, revision int64) {
	switch {
	case f.row == nil:
		d.tellAll(one, a, told{err: ErrNotFound})
		return
	case f.err != nil:
		d.tellAll(one, a, told{err: f.err})
		return
	case f.row.ended():
		d.tellAll(one, a, told{process: f.process})
		return
	}
	unread := false
	for _, w := range one.who {
		w.series, w.trouble = f.row.Series, nil
	}
	for w := range a.waiters {
		unread = unread || w.series == 0
	}
	for _, hint := range a.hints {
		if hint.series == f.row.Series && hint.revision > revision {
			d.want(wanted{id: one.id, hint: hint})
		}
	}
	if !unread {
		a.hints = nil
	}
}
