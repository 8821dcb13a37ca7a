package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
)

// shared is a data directory with the runs that share it.
type shared struct {
	t    *testing.T
	dir  string // with the journal, and the files that let commands end
	data string
	runs map[string]*program
}

func newShared(t *testing.T) *shared {
	dir := t.TempDir()
	return &shared{t: t, dir: dir, data: filepath.Join(dir, "data"), runs: map[string]*program{}}
}

// untilTold is a command that writes down when it begins and ends, and ends when a file of its process's name appears.
const untilTold = `echo "$DROVER_PROCESS_ID $DROVER_ATTEMPT begins" >>"$DIR/journal"
echo "begun $DROVER_ATTEMPT"
while [ ! -e "$DIR/$DROVER_PROCESS_ID" ]; do sleep 0.05; done
echo "$DROVER_PROCESS_ID $DROVER_ATTEMPT ends" >>"$DIR/journal"
exit "$(cat "$DIR/$DROVER_PROCESS_ID")"`

func (s *shared) args(id string) []string {
	return []string{"run", "--data-dir", s.data, "--id", id, "--env", "DIR=" + s.dir, "--", "sh", "-c", untilTold}
}

// run starts one and returns once its command runs.
func (s *shared) run(id string) *program {
	s.t.Helper()
	s.runs[id] = launch(s.t, s.args(id)...)
	s.runs[id].says("begun")
	return s.runs[id]
}

// finish lets the command of id end with this exit code.
func (s *shared) finish(id string, code int) {
	s.t.Helper()
	partial := filepath.Join(s.dir, "."+id)
	if err := os.WriteFile(partial, []byte(strconv.Itoa(code)), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(partial, filepath.Join(s.dir, id)); err != nil {
		s.t.Fatal(err)
	}
}

// ends lets id end, and wants it to do so with that exit code and without a word of drover's own.
func (s *shared) ends(id string, code int) {
	s.t.Helper()
	s.finish(id, code)
	p := s.runs[id]
	if got := p.exitCode(); got != code || p.output.String() != "begun 1\n" {
		s.t.Errorf("%s: exit code %d, want %d; %q", id, got, code, p.output.String())
	}
	delete(s.runs, id)
}

// record is what the holder of the directory says of itself.
func (s *shared) record() (pid int, state string) {
	content, err := os.ReadFile(filepath.Join(s.data, "lock"))
	if err != nil {
		s.t.Fatal(err)
	}
	var h struct {
		PID   int
		State string
	}
	_ = json.Unmarshal(content, &h) // it may be empty, or just being written
	return h.PID, h.State
}

// holder is which run serves.
func (s *shared) holder() (id string) {
	s.t.Helper()
	eventually(s.t, "one of them to serve", func() bool {
		pid, state := s.record()
		for id = range s.runs {
			if state == "serving" && s.runs[id].cmd.Process.Pid == pid {
				return true
			}
		}
		return false
	})
	return id
}

// list is what a client command sees, by id.
func (s *shared) list() map[string]registry.Process {
	s.t.Helper()
	byID := map[string]registry.Process{}
	for _, p := range processes(s.t, "list", "--data-dir", s.data, "--full") {
		byID[p.ID] = p
	}
	return byID
}

// journal wants just these lines, in any order.
func (s *shared) journal(want ...string) {
	s.t.Helper()
	content, err := os.ReadFile(filepath.Join(s.dir, "journal"))
	if err != nil {
		s.t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(content)), "\n")
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.t.Errorf("the journal says %q, want %q", got, want)
	}
}

// completedAtOnce wants each to have completed in its first attempt.
func (s *shared) completedAtOnce(ids ...string) {
	s.t.Helper()
	all := s.list()
	for _, id := range ids {
		p := all[id]
		if p.Status != registry.StatusCompleted || p.Attempt != 1 || len(p.History) != 1 {
			s.t.Errorf("%s: %s in attempt %d, %+v; want completed in the first", id, p.Status, p.Attempt, p.History)
		}
	}
}

func TestRunsHandTheDataDirectoryOn(t *testing.T) {
	t.Parallel()
	n := 5
	if *long {
		n = 20
	}
	s := newShared(t)
	var ids, want []string
	for i := range n {
		id := fmt.Sprintf("r%d", i)
		ids = append(ids, id)
		want = append(want, id+" 1 begins", id+" 1 ends")
		s.run(id)
	}
	for len(s.runs) > 1 {
		if got := len(s.list()); got != n {
			t.Errorf("a client command sees %d processes, want %d", got, n)
		}
		s.ends(s.holder(), 0)
		begin := time.Now()
		next := s.holder()
		t.Logf("%s serves %s after the last holder had ended", next, time.Since(begin).Round(time.Millisecond))
	}
	s.completedAtOnce(slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return s.runs[id] != nil })...)
	s.ends(s.holder(), 0)
	s.run("last")
	s.completedAtOnce(ids...)
	s.ends("last", 0)
	s.journal(append(want, "last 1 begins", "last 1 ends")...)
}

func TestRunsTakeOverFromAKilledOne(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	for _, id := range []string{"a", "b", "c"} {
		s.run(id)
	}
	killed := s.holder()
	s.runs[killed].kill()
	delete(s.runs, killed)
	begin := time.Now()
	s.holder()
	t.Logf("another serves after %s", time.Since(begin).Round(time.Millisecond))

	// Its session lives for 10 s more: a wait for its end is not allowed.
	s.finish(killed, 7)
	out, errs, code := drover(t, "", s.args(killed)...)
	if code != 7 || out != "begun 2\n" || errs != "" {
		t.Errorf("the killed one again: exit code %d, %q, %q; want it to go on", code, out, errs)
	}
	if took := time.Since(begin); took > 8*time.Second {
		t.Errorf("it took %s to go on", took)
	}
	want := []string{killed + " 1 begins", killed + " 2 begins", killed + " 2 ends"}
	var others []string
	for id := range s.runs {
		others = append(others, id)
		want = append(want, id+" 1 begins", id+" 1 ends")
	}
	s.ends(others[0], 0)
	s.completedAtOnce(others[0])
	s.ends(others[1], 3)
	s.journal(want...)
}

func TestClientsFollowAHandover(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	s.run("first")
	s.run("second")
	waiting := launch(t, "wait", "second", "--data-dir", s.data)
	// It is there once it is connected to the first one's socket, for which nothing tells but a moment: if it comes too
	// late this tests less, and fails no more.
	eventually(t, "the wait to be asked", func() bool { return len(s.list()) == 2 })
	s.runs["first"].kill()
	delete(s.runs, "first")
	if p := processes(t, "get", "second", "--data-dir", s.data)[0]; p.Status != registry.StatusRunning {
		t.Errorf("a client command in the gap sees it %s", p.Status)
	}
	s.holder()
	s.run("third") // for the end of the second one to be read from
	s.ends("second", 0)
	if code := waiting.exitCode(); code != 0 || waiting.output.String() != "second completed\n" {
		t.Errorf("wait: exit code %d, %q", code, waiting.output.String())
	}
	s.ends("third", 0)
}

func TestRunsTakeOverFromServe(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	node := launch(t, "serve", "--data-dir", s.data, "--node", "n", "--etcd-listen", "127.0.0.1:0")
	node.says("ready node=n ")
	s.run("a")
	if pid, _ := s.record(); pid != node.cmd.Process.Pid {
		t.Fatalf("process %d serves, want %d", pid, node.cmd.Process.Pid)
	}
	node.signal(syscall.SIGTERM)
	if code := node.exitCode(); code != 0 {
		t.Errorf("serve: exit code %d", code)
	}
	if id := s.holder(); id != "a" {
		t.Errorf("%s serves", id)
	}
	s.ends("a", 0)
}

func TestFrozenHolderIsNamed(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	frozen := s.run("a")
	frozen.signal(syscall.SIGSTOP)
	for _, tt := range []struct {
		args []string
		code int
	}{{s.args("b"), 125}, {[]string{"list", "--data-dir", s.data}, 5}} {
		begin := time.Now()
		out, errs, code := drover(t, "", tt.args...)
		if code != tt.code || out != "" || !strings.Contains(errs, "served by process "+pid(frozen)+", which does not answer") {
			t.Errorf("%s: exit code %d, want %d; %q, %q", tt.args[0], code, tt.code, out, errs)
		}
		oneLine(t, errs)
		if took := time.Since(begin); took > 10*time.Second { // 2 s, and as much again as a busy machine takes
			t.Errorf("%s took %s to say so", tt.args[0], took)
		}
	}
	frozen.signal(syscall.SIGCONT)
	s.run("b")
	s.ends("b", 0)
	s.finish("a", 0)
	if code := frozen.exitCode(); code != 0 {
		t.Errorf("the one that was frozen: exit code %d", code)
	}
}

func TestTwoRunsOfOneProcess(t *testing.T) {
	t.Parallel()
	for _, handBack := range []bool{false, true} {
		t.Run(fmt.Sprintf("handed back %v", handBack), func(t *testing.T) {
			t.Parallel()
			s := newShared(t)
			first := s.run("same")
			second := launch(t, s.args("same")...)
			eventually(t, "two nodes", func() bool {
				out, _, _ := drover(t, "", "nodes", "--data-dir", s.data, "-o", "json")
				return strings.Count(out, "\n") == 2
			})
			want := []string{"same 1 begins", "same 1 ends"}
			shown, code := "begun 1\n", 7
			if handBack {
				want = []string{"same 1 begins", "same 2 begins", "same 2 ends"}
				shown, code = "begun 2\n", 143
				first.signal(syscall.SIGTERM)
				second.says("begun 2\n")
			}
			s.finish("same", 7)
			if got := first.exitCode(); got != code || first.output.String() != "begun 1\n" {
				t.Errorf("the first: exit code %d, want %d; %q", got, code, first.output.String())
			}
			if got := second.exitCode(); got != 7 || second.output.String() != shown {
				t.Errorf("the second: exit code %d, %q; want 7, %q", got, second.output.String(), shown)
			}
			s.journal(want...)
		})
	}
}

func TestRunRetry(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	retry := slices.Insert(s.args("it"), 1, "--retry")
	s.finish("it", 7)
	steps := []struct {
		args []string
		code int
		out  string
	}{
		{retry, 7, "begun 1\n"},        // there is nothing yet to run again
		{s.args("it"), 7, "begun 1\n"}, // repeated
		{retry, 7, "begun 2\n"},        // run again
		{retry, 0, "begun 3\n"},        // and again, with success this time
		{retry, 0, "begun 3\n"},        // which is only repeated
		{s.args("it"), 0, "begun 3\n"}, // likewise
	}
	for i, step := range steps {
		if i == 3 {
			s.finish("it", 0)
		}
		if out, errs, code := drover(t, "", step.args...); code != step.code || out != step.out || errs != "" {
			t.Errorf("step %d: exit code %d, %q, %q; want %d, %q", i, code, out, errs, step.code, step.out)
		}
	}
	s.journal("it 1 begins", "it 1 ends", "it 2 begins", "it 2 ends", "it 3 begins", "it 3 ends")

	// One that has not ended is gone on with.
	killed := s.run("other")
	killed.kill()
	s.finish("other", 0)
	if out, errs, code := drover(t, "", slices.Insert(s.args("other"), 1, "--retry")...); code != 0 || out != "begun 2\n" || errs != "" {
		t.Errorf("one that was killed: exit code %d, %q, %q", code, out, errs)
	}
}

func TestRunFlagsAreOfTheProcess(t *testing.T) {
	t.Parallel()
	s := newShared(t)
	s.run("holder")
	out, errs, code := drover(t, "", "run", "--data-dir", s.data, "--id", "it", "--priority", "2", "--disposition", "owner-bound",
		"--attempt-timeout", "1h", "--deadline", "2h", "-l", "team=a", "--label", "note=x=y", "--", "true")
	if code != 0 || out != "" || errs != "" {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	out, _, _ = drover(t, "", "get", "it", "--data-dir", s.data, "-o", "json")
	for _, want := range []string{
		`"priority":2`, `"disposition":"owner-bound"`, `"attempt_timeout":"1h0m0s"`, `"deadline":"2h0m0s"`, `"labels":{"note":"x=y","team":"a"}`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("get: %s, want %s", out, want)
		}
	}
	s.ends("holder", 0)
	for _, tt := range []struct{ flags, says string }{
		{"--disposition external", "--disposition external: it must be rerunnable or owner-bound"},
		{"--label team", "--label team: it must be K=V"},
		{"--label =a", "--label =a: it must be K=V"},
		{"--deadline 0", "--deadline 0: it must be a time such as 30s or 1h30m, more than 0"},
		{"--attempt-timeout -1s", "--attempt-timeout -1s: it must be a time such as 30s or 1h30m, more than 0"},
		{"--priority 4", "--priority 4: it must be a whole number from 0 to 3"},
		{"--queue q", "unknown flag: --queue"},
		{"--delay 1s", "unknown flag: --delay"},
		{"--wait", "unknown flag: --wait"},
	} {
		args := append([]string{"run", "--data-dir", s.data}, strings.Fields(tt.flags)...)
		if out, errs, code := drover(t, "", append(args, "--", "true")...); code != 125 || out != "" || !strings.Contains(errs, tt.says) {
			t.Errorf("%s: exit code %d, %q, %q", tt.flags, code, out, errs)
		} else {
			oneLine(t, errs)
		}
	}
}
