package registry

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
)

func idsOf(page Page) string {
	var ids []string
	for _, p := range page.Processes {
		ids = append(ids, p.ID)
	}
	return strings.Join(ids, " ")
}

func TestListByLabels(t *testing.T) {
	r := newRegistry(t)
	labelled := func(labels map[string]string) StartOption { return func(s *Spec) { s.Labels = labels } }
	start(t, r, "both", labelled(map[string]string{"team": "a", "env": "prod"}))
	start(t, r, "one", labelled(map[string]string{"team": "a"}))
	start(t, r, "other", labelled(map[string]string{"team": "b", "env": "prod"}))
	start(t, r, "empty", labelled(map[string]string{"team": ""}))
	start(t, r, "none")
	for _, c := range []struct {
		labels map[string]string
		want   string
	}{
		{nil, "both empty none one other"},
		{map[string]string{"team": "a"}, "both one"},
		{map[string]string{"team": "a", "env": "prod"}, "both"},
		{map[string]string{"team": ""}, "empty"},
		{map[string]string{"env": ""}, ""},
	} {
		page, err := r.List(t.Context(), Filter{Labels: c.labels})
		noErr(t, err)
		if got := idsOf(page); got != c.want {
			t.Errorf("%v lists %q, want %q", c.labels, got, c.want)
		}
	}
}

func TestPagesWithACursorAreOneListOfOneMoment(t *testing.T) {
	r := newRegistry(t)
	for _, id := range []string{"a/1", "a%2", "c", "e"} {
		start(t, r, id)
	}
	s := join(t, r, "n")
	claim(t, r, s, "e")
	f := Filter{Limit: 2}
	first, err := r.List(t.Context(), f)
	noErr(t, err)
	start(t, r, "b")
	start(t, r, "d")
	cancelled(t, r, "f")
	_, err = r.Cancel(t.Context(), "c", Request{})
	noErr(t, err)
	_, err = r.Prune(t.Context(), PruneOptions{Before: time.Now().Add(time.Hour)})
	noErr(t, err)
	leave(t, s)
	f.Cursor = first.Cursor
	second, err := r.List(t.Context(), f)
	noErr(t, err)
	if idsOf(first) != "a%2 a/1" || idsOf(second) != "c e" || second.More || second.Cursor != "" || second.Revision != first.Revision {
		t.Errorf("the pages are %s and %s, %+v", idsOf(first), idsOf(second), second)
	}
	if c, e := second.Processes[0], second.Processes[1]; c.Status != StatusPending || e.Status != StatusRunning {
		t.Errorf("c was %s, e was %s", c.Status, e.Status)
	}
	f.Cursor, f.After = "", first.Next
	if page, err := r.List(t.Context(), f); err != nil || idsOf(page) != "b d" {
		t.Errorf("after the last id come %s, %v", idsOf(page), err)
	}
}

func TestACursorThatIsNone(t *testing.T) {
	r := newRegistry(t)
	for _, text := range []string{"x", "!", base64.RawURLEncoding.EncodeToString([]byte("0 p")), base64.RawURLEncoding.EncodeToString([]byte("7 "))} {
		_, err := r.List(t.Context(), Filter{Cursor: text})
		wantErr(t, err, ErrInvalid)
	}
}

func TestACursorWhoseRevisionIsCompacted(t *testing.T) {
	server := etcdtest.New(t)
	r := registryOn(t, server.Client(t), Options{})
	start(t, r, "a")
	start(t, r, "b")
	page, err := r.List(t.Context(), Filter{Limit: 1})
	noErr(t, err)
	compactAll(t, r.client)
	_, err = r.List(t.Context(), Filter{Limit: 1, Cursor: page.Cursor})
	wantErr(t, err, ErrCompacted)
	if want := fmt.Sprintf("list: the page before was read at revision %d, which etcd does not keep any more; begin again", page.Revision); !strings.HasPrefix(err.Error(), want) {
		t.Errorf("the error is %q", err)
	}
	if page, err = r.List(t.Context(), Filter{Limit: 1, After: page.Next}); err != nil || idsOf(page) != "b" {
		t.Errorf("after the last id comes %s, %v", idsOf(page), err)
	}
}

// counting notes what requests ask for and how much etcd looks at for them.
type counting struct {
	mu              sync.Mutex
	requests, reads int
	counted         int64
}

func (c *counting) saw(req *etcdserverpb.TxnRequest, resp *etcdserverpb.TxnResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	c.reads += len(req.Success)
	for _, answer := range resp.Responses {
		c.counted += answer.GetResponseRange().GetCount()
	}
}

func (c *counting) take() (requests, reads int, counted int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	requests, reads, counted = c.requests, c.reads, c.counted
	c.requests, c.reads, c.counted = 0, 0, 0
	return requests, reads, counted
}

func TestAListCostsOneRangeForEachSession(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	var count counting
	wire.saw(count.saw)
	specs := make([]Spec, 300)
	for i := range specs {
		specs[i] = Spec{ID: fmt.Sprintf("p%03d", i), Kind: "k", Disposition: Rerunnable}
	}
	for _, res := range r.StartMany(t.Context(), specs, StartManyOptions{}) {
		noErr(t, res.Err)
	}
	var sessions []*Session
	for i := range 20 {
		sessions = append(sessions, join(t, r, fmt.Sprint("n", i)))
	}
	for i, e := range pending(t, r)[:40] {
		_, err := r.Claim(t.Context(), sessions[i%20], e)
		noErr(t, err)
	}
	leave(t, sessions[7])
	count.take()
	page, err := r.List(t.Context(), Filter{Limit: 300})
	noErr(t, err)
	requests, reads, _ := count.take()
	// The roster, and for three chunks: rows, then requests and 20 sessions.
	if len(page.Processes) != 300 || requests > 7 || reads > 2+3*(1+1+20) {
		t.Errorf("%d listed with %d requests and %d reads", len(page.Processes), requests, reads)
	}
	by := map[Status]int{}
	for _, p := range page.Processes {
		by[p.Status]++
	}
	if by[StatusPending] != 260 || by[StatusRunning] != 38 || by[StatusOrphaned] != 2 {
		t.Errorf("listed %v", by)
	}

	// What is claimed is found from the claims.
	for status, want := range map[Status]int{StatusRunning: 38, StatusOrphaned: 2} {
		count.take()
		page, err = r.List(t.Context(), Filter{Statuses: []Status{status}})
		noErr(t, err)
		_, _, counted := count.take()
		if len(page.Processes) != want || counted > int64(40+4*want) {
			t.Errorf("%d are %s, and etcd looked at %d keys for it", len(page.Processes), status, counted)
		}
	}
}

// claimMany writes rows, and claims of them, as their transitions would.
func claimMany(t *testing.T, r *Registry, n int, holder func(i int) *Session) (ids []string) {
	t.Helper()
	var ops []clientv3.Op
	for i := range n {
		id := fmt.Sprintf("p/%04d", i)
		e := must(encodeSpec(Spec{ID: id, Kind: "k", Disposition: Rerunnable}, 100))
		row := must(r.table.start(e, 1, time.Now())).then[0]
		value := string(must(encode(claimValue{Queue: "default", Kind: "k", ClaimedAt: time.Now(), Nonce: id})))
		ops = append(ops, row, put(r.keys.claim(holder(i).ID(), id), value))
		ids = append(ids, id)
	}
	for batch := range slices.Chunk(ops, maxOps) {
		_, err := r.read(t.Context(), batch...)
		noErr(t, err)
	}
	return ids
}

func TestClaimedProcessesAreListedInPages(t *testing.T) {
	for name, dense := range map[string]int{"the first has most": 0, "the second has most": 1} {
		t.Run(name, func(t *testing.T) {
			r := newRegistry(t)
			sessions := []*Session{join(t, r, "a"), join(t, r, "b")}
			slices.SortFunc(sessions, func(a, b *Session) int { return strings.Compare(a.ID(), b.ID()) })
			// Each has several chunks, which end at different ids.
			want := claimMany(t, r, 5*listChunk, func(i int) *Session {
				if i%4 == 0 {
					return sessions[1-dense]
				}
				return sessions[dense]
			})
			leave(t, sessions[1])
			for _, limit := range []int{10_000, 100, 13} {
				f := Filter{Statuses: []Status{StatusOrphaned, StatusRunning}, Limit: limit}
				var got []string
				for more := true; more; {
					page, err := r.List(t.Context(), f)
					noErr(t, err)
					for _, p := range page.Processes {
						got = append(got, p.ID)
					}
					more, f.Cursor = page.More, page.Cursor
				}
				if !slices.Equal(got, want) {
					t.Errorf("in pages of %d: %d of %d", limit, len(got), len(want))
				}
			}
			// One filter more is still one.
			page, err := r.List(t.Context(), Filter{Statuses: []Status{StatusRunning}, Kind: "other"})
			if err != nil || len(page.Processes) != 0 {
				t.Errorf("listed %s, %v", idsOf(page), err)
			}
		})
	}
}

func TestAClaimWithoutARowIsReported(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	claim(t, r, join(t, r, "n"), "p")
	_, err := r.client.Delete(t.Context(), r.keys.process("p"))
	noErr(t, err)
	page, err := r.List(t.Context(), Filter{Statuses: []Status{StatusRunning}})
	if err != nil || len(page.Processes) != 0 || len(page.Corrupt) != 1 {
		t.Errorf("listed %+v, %v", page, err)
	}
}

func TestGetShowsProgressWhileTheProcessIsOpen(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	start(t, r, "p")
	c := claim(t, r, s, "p")
	noErr(t, r.Progress(t.Context(), c, []byte(`{"percent": 40}`)))
	if p := lookAt(t, r, "p"); string(p.Progress) != `{"percent":40}` {
		t.Errorf("its progress is %s", p.Progress)
	}
	noErr(t, r.Complete(t.Context(), c, nil))
	write(t, r, r.keys.progress("p"), `{"value":"left behind"}`)
	if p := lookAt(t, r, "p"); p.Progress != nil {
		t.Errorf("its progress is %s", p.Progress)
	}
	start(t, r, "q")
	write(t, r, r.keys.progress("q"), `garbage`)
	if p := lookAt(t, r, "q"); p.Progress != nil {
		t.Errorf("its progress is %s", p.Progress)
	}
}
