package registry

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// keys is the layout: where in etcd everything stands. No other file of the
// project builds or takes apart a key.
type keys struct {
	root string // "/<namespace>/v1/"
}

func newKeys(namespace string) keys { return keys{root: "/" + namespace + "/v1/"} }

// escape keeps an id inside its path segment: with a bare '/' in it a prefix
// delete of one process would cross into another.
var (
	escape   = strings.NewReplacer("%", "%25", "/", "%2F")
	unescape = strings.NewReplacer("%25", "%", "%2F", "/")
)

func (k keys) process(id string) string { return k.root + "process/" + escape.Replace(id) }
func (k keys) input(id string) string   { return k.root + "input/" + escape.Replace(id) }
func (k keys) output(id string) string  { return k.root + "output/" + escape.Replace(id) }
func (k keys) request(id string) string { return k.root + "request/" + escape.Replace(id) }
func (k keys) parked(id string) string  { return k.root + "parked/" + escape.Replace(id) }

func (k keys) progress(id string) string   { return k.root + "progress/" + escape.Replace(id) }
func (k keys) steps(id string) string      { return k.root + "step/" + escape.Replace(id) + "/" }
func (k keys) step(id, name string) string { return k.steps(id) + name }

// deadline is the timer of a process's deadline, which is no place.
func (k keys) deadline(r row) string { return k.timer(r.DeadlineAt, r.ID, dueDeadline) }

func (k keys) claim(sid, id string) string { return k.claims(sid) + escape.Replace(id) }
func (k keys) claims(sid string) string    { return k.root + "claim/" + sid + "/" }
func (k keys) session(sid string) string   { return k.root + "session/" + sid }
func (k keys) node(sid string) string      { return k.root + "node/" + sid }
func (k keys) queue(name string) string    { return k.root + "queue/" + name }
func (k keys) poke(node string) string     { return k.root + "poke/" + node }
func (k keys) full() string                { return k.root + "full" }

// lane is the prefix of what may be claimed now for one queue, kind and
// priority. The kind is part of the key, so what a node can't run costs it
// nothing.
func (k keys) lane(queue, kind string, priority int) string {
	return k.root + "pending/" + queue + "/" + kind + "/" + strconv.Itoa(priority) + "/"
}

func (k keys) pending(e Entry) string {
	return k.lane(e.Queue, e.Kind, e.Priority) + ordinal(e.Seq) + "/" + escape.Replace(e.ID)
}

func (k keys) timers() string { return k.root + "timer/" }

func (k keys) timer(due time.Time, id, what string) string {
	if due.After(latest) {
		due = latest // else its nanoseconds would wrap, and it be due at once
	}
	return k.timers() + ordinal(due.UnixNano()) + "/" + escape.Replace(id) + "/" + what
}

// latest is the last time that keys can hold, in nanoseconds: in the year 2262.
var latest = time.Unix(0, math.MaxInt64)

// done is the hint that ids ended. The nonce keeps two batches that end in
// the same nanosecond apart.
func (k keys) done(o Outcome, finished time.Time, nonce string) string {
	return k.ended(o) + ordinal(finished.UnixNano()) + "/" + nonce
}

// ended is the prefix of the hints of one outcome, in the order of time.
func (k keys) ended(o Outcome) string { return k.root + "done/" + string(o) + "/" }

// ordinal writes a number so that the order of bytes is the order of numbers.
func ordinal(n int64) string { return fmt.Sprintf("%020d", max(n, 0)) }

// parsePending is pending read backwards; ok is false for a key that nobody
// of ours wrote.
func (k keys) parsePending(key string) (e Entry, ok bool) {
	rest, found := strings.CutPrefix(key, k.root+"pending/")
	part := strings.Split(rest, "/")
	if !found || len(part) != 5 {
		return Entry{}, false
	}
	priority, err1 := strconv.Atoi(part[2])
	seq, err2 := strconv.ParseInt(part[3], 10, 64)
	if err1 != nil || err2 != nil {
		return Entry{}, false
	}
	return Entry{Queue: part[0], Kind: part[1], Priority: priority, Seq: seq, ID: unescape.Replace(part[4])}, true
}

func (k keys) parseTimer(key string) (due time.Time, id, what string, ok bool) {
	rest, found := strings.CutPrefix(key, k.timers())
	part := strings.Split(rest, "/")
	if !found || len(part) != 3 {
		return time.Time{}, "", "", false
	}
	ns, err := strconv.ParseInt(part[0], 10, 64)
	if err != nil {
		return time.Time{}, "", "", false
	}
	return time.Unix(0, ns), unescape.Replace(part[1]), part[2], true
}

// last takes the last segment of a key, an id, back out of it.
func last(key string) string {
	return unescape.Replace(key[strings.LastIndexByte(key, '/')+1:])
}

// upTo is the end of the range of all keys that start with prefix.
func upTo(prefix string) string { return clientv3.GetPrefixRangeEnd(prefix) }
