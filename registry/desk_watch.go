package registry

import (
	"context"
	"encoding/json"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// watch takes hints until ctx ends or etcd has compacted what comes next: then
// everybody looks again, and the next read sets up another watch.
func (d *desk) watch(ctx context.Context, from int64) {
	pause := newPause()
	for ctx.Err() == nil {
		watch, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		events := d.room.r.client.Watch(watch, d.room.r.keys.root+"done/", clientv3.WithPrefix(),
			clientv3.WithFilterDelete(), clientv3.WithRev(from))
		compacted := false
		for resp := range events {
			for _, e := range resp.Events {
				d.hint(e.Kv)
				from = e.Kv.ModRevision + 1
				pause.Reset()
			}
			compacted = compacted || resp.CompactRevision > 0
		}
		cancel()
		if compacted && ctx.Err() == nil {
			d.startOver(true)
			return
		}
		rest(ctx, pause.NextBackOff())
	}
}

// startOver has every row read again. lost says that there is no watch.
func (d *desk) startOver(lost bool) {
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	d.watched = d.watched && !lost
	for id, a := range d.ids {
		d.forget(id, a)
	}
}

// hint has the rows read that ended, if somebody waits for that.
func (d *desk) hint(kv *mvccpb.KeyValue) {
	var done doneValue
	if err := json.Unmarshal(kv.Value, &done); err != nil {
		d.room.r.log.Warn("a hint of ended processes can't be read", zap.Error(err))
		d.startOver(false)
		return
	}
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	for _, ended := range done.Ended {
		a := d.ids[ended.ID]
		if a == nil {
			continue
		}
		hint, waits, unread := endedAt{ended.Series, kv.ModRevision}, false, false
		for w := range a.waiters {
			waits, unread = waits || w.series == ended.Series, unread || w.series == 0
		}
		if waits && ended.Series > 0 {
			d.want(wanted{id: ended.ID, hint: hint})
		}
		if unread {
			a.hints = append(a.hints, hint)
		}
	}
}

// putBack has a batch read once more after etcd did not answer.
func (d *desk) putBack(batch []wanted, why error) {
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	for _, one := range batch {
		a := d.ids[one.id]
		switch {
		case a == nil:
		case one.hint.series != 0:
			d.want(one)
		default:
			d.ask(one.id, a)
		}
		if a != nil {
			for w := range a.waiters {
				w.trouble = why
			}
		}
	}
}

// lookAgain falls back to the rows as they are where hints can't be followed
// any more: etcd has compacted their revisions.
func (d *desk) lookAgain(batch []wanted) {
	d.room.mu.Lock()
	defer d.room.mu.Unlock()
	for _, one := range batch {
		if a := d.ids[one.id]; a != nil {
			d.forget(one.id, a)
		}
	}
}

// forget makes those who wait for a process begin anew.
func (d *desk) forget(id string, a *awaited) {
	for w := range a.waiters {
		w.series = 0
	}
	d.ask(id, a)
}
