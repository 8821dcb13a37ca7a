package runner_test

import (
	"fmt"
	"slices"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

func TestAQueuesRoomLimitsWhatIsClaimedOfIt(t *testing.T) {
	b := newBench(t, 10, "k")
	b.rooms = map[string]int{"default": 2}
	for i := range 5 {
		b.start(fmt.Sprint("d", i), "k", registry.Priority(0))
		b.start(fmt.Sprint("o", i), "k", registry.Queue("other"), registry.Priority(3))
	}
	d := b.drive()
	if got, want := ids(b.taken), []string{"d0", "d1", "o0", "o1", "o2", "o3", "o4"}; !slices.Equal(got, want) {
		t.Errorf("claimed %v, want %v: a full queue is in nobody's way", got, want)
	}
	if d.Claimed != 7 || !d.Starved {
		t.Errorf("drove %+v, want 7 claimed and more waiting for room in a queue", d)
	}
	if d = b.drive(); d.Claimed != 0 || !d.Starved {
		t.Errorf("drove %+v, want it to wait for room", d)
	}
	b.empty()
	d = b.drive()
	if got, want := ids(b.empty()), []string{"d2", "d3"}; !slices.Equal(got, want) || !d.Starved {
		t.Errorf("claimed %v (%+v), want %v", got, d, want)
	}
	d = b.drive()
	if got, want := ids(b.empty()), []string{"d4"}; !slices.Equal(got, want) || d.Starved {
		t.Errorf("claimed %v (%+v), want %v and nothing left", got, d, want)
	}
}

func TestAQueueThatIsFullWithoutAnythingWaitingStarvesNobody(t *testing.T) {
	b := newBench(t, 10, "k")
	b.rooms = map[string]int{"default": 0}
	b.start("o", "k", registry.Queue("other"))
	if d := b.drive(); d.Claimed != 1 || d.Starved {
		t.Errorf("drove %+v, want 1 claimed and nothing waiting", d)
	}
}

func TestAQueuesRoomLimitsWhatIsAdopted(t *testing.T) {
	b := newBench(t, 10, "k")
	for i := range 3 {
		b.start(fmt.Sprint("d", i), "k")
		b.start(fmt.Sprint("o", i), "k", registry.Queue("other"))
	}
	peer := b.peer("n2", 10, lease.Identity{})
	peer.drive()
	if n := len(peer.taken); n != 6 {
		t.Fatalf("the peer claimed %d", n)
	}
	peer.die()
	b.rooms = map[string]int{"default": 1}
	d := b.look()
	taken := ids(b.empty())
	if d.Claimed != 4 || !d.Starved || len(taken) != 4 || !slices.Equal(taken[1:], []string{"o0", "o1", "o2"}) {
		t.Errorf("adopted %v (%+v), want one of the full queue and all of the other", taken, d)
	}
	for _, id := range []string{"d0", "d1", "d2"} {
		want := registry.StatusPending // for whoever has room
		if id == taken[0] {
			want = registry.StatusRunning
		}
		if p := b.get(id); p.Status != want || p.Adoptions != 1 || p.Attempt != 1+count(want == registry.StatusRunning) {
			t.Errorf("%s is %s after %d adoptions, attempt %d", id, p.Status, p.Adoptions, p.Attempt)
		}
	}
}

func count(is bool) int {
	if is {
		return 1
	}
	return 0
}

// The slots of the node are shared: what its queues may take together is no
// more than there are.
func TestTheNodesSlotsLimitAllQueuesTogether(t *testing.T) {
	b := newBench(t, 3, "k")
	b.rooms = map[string]int{"default": 2, "other": 2}
	for i := range 3 {
		b.start(fmt.Sprint("d", i), "k")
		b.start(fmt.Sprint("o", i), "k", registry.Queue("other"))
	}
	d := b.drive()
	if got, want := ids(b.empty()), []string{"d0", "d1", "o0"}; !slices.Equal(got, want) || !d.Starved {
		t.Errorf("claimed %v (%+v), want %v: in the order of their start", got, d, want)
	}
}

// A list is longer by what is passed over. That must not hide that it held
// more than there were slots for.
func TestADriveIsStarvedAlsoWhenItPassesSomethingOver(t *testing.T) {
	b := newBench(t, 2, "k")
	client, root := etcdtest.Client(t), "/"+b.space+"/v1/"
	b.start("bad", "k")
	if _, err := client.Put(t.Context(), root+"process/bad", "garbage"); err != nil {
		t.Fatal(err)
	}
	b.drive() // which passes it over from now on
	if _, err := client.Delete(t.Context(), root+"pending/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b.start(fmt.Sprint("d", i), "k")
	}
	if d := b.drive(); d.Claimed != 2 || !d.Starved {
		t.Errorf("drove %+v, want 2 claimed and one waiting", d)
	}
}
