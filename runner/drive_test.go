package runner_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

func TestDriveClaimsTheMostUrgentFirstAndNoMoreThanSlots(t *testing.T) {
	b := newBench(t, 2, "a", "b")
	b.start("late", "a", registry.Priority(2))
	b.start("first", "b", registry.Priority(0))
	b.start("second", "a")
	b.start("third", "b", registry.Queue("other"))
	d := b.drive()
	if got, want := ids(b.empty()), []string{"first", "second"}; !slices.Equal(got, want) {
		t.Fatalf("claimed %v, want %v", got, want)
	}
	if d.Claimed != 2 || !d.Starved {
		t.Errorf("drove %+v, want 2 claimed and more waiting", d)
	}
	if d = b.drive(); d.Starved {
		t.Errorf("drove %+v, want nothing more waiting", d)
	}
	if got, want := ids(b.empty()), []string{"late", "third"}; !slices.Equal(got, want) {
		t.Errorf("then claimed %v, want %v", got, want)
	}
}

func TestDriveLeavesUnknownKindsAlone(t *testing.T) {
	b := newBench(t, 10, "known")
	b.start("x", "unknown")
	b.start("y", "known", registry.Queue("unserved"))
	b.start("z", "known")
	b.drive()
	if got, want := ids(b.empty()), []string{"z"}; !slices.Equal(got, want) {
		t.Errorf("claimed %v, want %v", got, want)
	}
	for _, id := range []string{"x", "y"} {
		if p := b.get(id); p.Status != registry.StatusPending || p.Attempt != 0 {
			t.Errorf("%s is %s with %d attempts, want it untouched", id, p.Status, p.Attempt)
		}
	}
}

func TestDriveReadsRowAndInputWithTheClaim(t *testing.T) {
	b := newBench(t, 10, "a")
	large, err := json.Marshal(string(make([]byte, 3000))) // each byte takes six
	if err != nil {
		t.Fatal(err)
	}
	input := func(raw json.RawMessage) registry.StartOption { return func(s *registry.Spec) { s.Input = raw } }
	b.start("large", "a", input(large))
	b.start("small", "a", input(json.RawMessage(`{"n": 1}`)), registry.MaxAttempts(7))
	b.drive()
	for _, c := range b.empty() {
		want := string(large)
		if c.ID == "small" {
			want = `{"n":1}`
			if c.MaxAttempts() != 7 || c.Attempt != 1 {
				t.Errorf("attempt %d of at most %d errors, want 1 of 7", c.Attempt, c.MaxAttempts())
			}
		}
		if string(c.Input) != want {
			t.Errorf("input of %s is %.60s..., want %.60s...", c.ID, c.Input, want)
		}
		if p := b.get(c.ID); p.Claim == nil || p.Claim.Fence != c.Fence {
			t.Errorf("%s is held as %+v, want fence %d", c.ID, p.Claim, c.Fence)
		}
	}
}

func TestDriveIsolatesCorruptRows(t *testing.T) {
	b := newBench(t, 10, "a")
	client := etcdtest.Client(t)
	b.start("bad", "a")
	b.start("good", "a")
	root := "/" + b.space + "/v1/"
	if _, err := client.Put(t.Context(), root+"process/bad", "garbage"); err != nil {
		t.Fatal(err)
	}
	b.drive()
	if got, want := ids(b.empty()), []string{"good"}; !slices.Equal(got, want) {
		t.Fatalf("claimed %v, want %v", got, want)
	}
	resp, err := client.Get(t.Context(), root+"process/bad")
	if err != nil {
		t.Fatal(err)
	}
	if got := string(resp.Kvs[0].Value); got != "garbage" {
		t.Errorf("the corrupt row was changed to %q", got)
	}
	before := resp.Header.Revision
	b.start("next", "a")
	b.drive()
	if got, want := ids(b.empty()), []string{"next"}; !slices.Equal(got, want) {
		t.Errorf("then claimed %v, want %v", got, want)
	}
	// One start and one claim: the corrupt one is not claimed over and over.
	if resp, err = client.Get(t.Context(), root); err != nil || resp.Header.Revision != before+2 {
		t.Errorf("%d writes (error %v), want 2", resp.Header.Revision-before, err)
	}
}

func TestDriveWithoutSessionTriesNothing(t *testing.T) {
	b := newBench(t, 10, "a")
	b.start("x", "a")
	if err := b.session.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.runner.Drive(t.Context(), runner.Startup); !errors.Is(err, runner.ErrNoSession) {
		t.Errorf("error %v, want ErrNoSession", err)
	}
	b.session = nil
	if _, err := b.runner.Drive(t.Context(), runner.Startup); !errors.Is(err, runner.ErrNoSession) {
		t.Errorf("error %v, want ErrNoSession", err)
	}
}

func TestDriveMaturesWhatIsDueAndKnowsWhatIsNext(t *testing.T) {
	b := newBench(t, 10, "a")
	soon := time.Now().Add(time.Second)
	b.start("soon", "a", registry.At(soon))
	b.start("far", "a", registry.At(time.Now().Add(time.Hour)))
	if d := b.drive(); d.Claimed != 0 || !d.Next.Equal(soon.Round(0)) {
		t.Fatalf("drove %+v, want nothing claimed and the next at %s", d, soon)
	}
	deadline := time.Now().Add(10 * time.Second)
	for len(b.empty()) == 0 {
		if time.Now().After(deadline) {
			t.Fatal("what was due was never claimed")
		}
		b.drive()
	}
	if p := b.get("far"); p.Status != registry.StatusScheduled {
		t.Errorf("far is %s, want scheduled", p.Status)
	}
}

func TestDriveAdoptsOrphansAndPutsBackWhatItCannotRun(t *testing.T) {
	b := newBench(t, 3, "a", "b")
	for _, id := range []string{"x", "y", "z"} {
		b.start(id, "a")
	}
	b.start("w", "b")
	other := b.session
	b.free = 4
	b.drive()
	if got := len(b.empty()); got != 4 {
		t.Fatalf("claimed %d, want 4", got)
	}
	if err := other.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.session = b.open("n2")
	b.mux = runner.NewMux()
	b.mux.Handle("a", registry.Rerunnable, runner.HandlerFunc(noop))
	b.runner, b.free = b.make("default"), 2
	b.runner.LookForOrphans()
	d := b.drive()
	if got := b.empty(); len(got) != 2 || d.Claimed != 2 {
		t.Fatalf("adopted %v (%+v), want two", ids(got), d)
	}
	statuses := map[registry.Status]int{}
	for _, id := range []string{"w", "x", "y", "z"} {
		p := b.get(id)
		statuses[p.Status]++
		if p.Adoptions != 1 || len(p.History) != 1 || p.History[0].Error != "session lost" || p.History[0].Node != "n1" {
			t.Errorf("%s has %d adoptions and the history %+v", id, p.Adoptions, p.History)
		}
	}
	if fmt.Sprint(statuses) != "map[pending:2 running:2]" {
		t.Errorf("after the takeover: %v", statuses)
	}
}

func TestDriveEndsSessionsOfProvablyDeadNodes(t *testing.T) {
	b := newBench(t, 3, "a")
	b.start("x", "a")
	b.drive()
	b.empty()
	self := lease.Self()
	if self.BootID == "" {
		t.Skip("this system can't prove that a process is gone")
	}
	dead := self
	dead.StartTime++ // the kernel knows this pid with another start time
	theirs, err := b.registry.OpenSession(t.Context(), registry.NodeInfo{Name: "theirs", Process: dead}, 60*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	b.start("y", "a")
	mine := b.session
	b.session = theirs
	b.drive()
	if got, want := ids(b.empty()), []string{"y"}; !slices.Equal(got, want) {
		t.Fatalf("theirs claimed %v, want %v", got, want)
	}
	b.session = mine
	if _, err := b.runner.Drive(t.Context(), runner.Startup); err != nil {
		t.Fatal(err)
	}
	if got, want := ids(b.empty()), []string{"y"}; !slices.Equal(got, want) {
		t.Errorf("adopted %v, want %v: its node is provably dead", got, want)
	}
	theirs.Abandon()
}
