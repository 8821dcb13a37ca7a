package kinds

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-run/drover/lease"
	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// bench runs processes of these kinds on real etcd, one at a time.
type bench struct {
	t        *testing.T
	registry *registry.Registry
	session  *registry.Session
	runner   *runner.Runner

	mu    sync.Mutex
	taken *registry.Claim
}

func (b *bench) Free() int { return 1 }

func (b *bench) FreeIn(string) int { return 1 }

func (b *bench) Hand(c *registry.Claim) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = c
}

func newBench(t *testing.T, o ExecOptions) *bench {
	t.Helper()
	reg, err := registry.Open(t.Context(), etcdtest.Client(t), registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reg.Close() })
	b := &bench{t: t, registry: reg}
	if b.session, err = reg.OpenSession(t.Context(), registry.NodeInfo{Name: "n1"}, 5*time.Second); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.session.Close(context.Background()) })
	o.Witness = newWitness(t)
	o.Witness.Deadline(b.session.ID(), lease.Boottime()+time.Hour)
	mux := runner.NewMux()
	mux.Handle("exec", registry.Rerunnable, Exec(o))
	mux.Handle("sleep", registry.Rerunnable, Sleep())
	mux.Handle("noop", registry.Rerunnable, Noop())
	mux.Handle("http", registry.Rerunnable, HTTP(HTTPOptions{UserAgent: "drover/test"}))
	b.runner, err = runner.New(runner.Options{
		Registry: reg, Mux: mux, Slots: b, Queues: []string{"default"},
		Session: func() *registry.Session { return b.session },
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// run starts a process and makes one attempt at it.
func (b *bench) run(ctx context.Context, kind, input string, opts ...registry.StartOption) registry.Process {
	b.t.Helper()
	id, err := b.attempt(ctx, kind, input, opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	p, err := b.registry.Get(b.t.Context(), id)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// lose is like run for an attempt whose end can't be written.
func (b *bench) lose(ctx context.Context, kind, input string) error {
	b.t.Helper()
	_, err := b.attempt(ctx, kind, input)
	return err
}

func (b *bench) attempt(ctx context.Context, kind, input string, opts ...registry.StartOption) (string, error) {
	b.t.Helper()
	id := registry.ID(b.t.Name() + kind + input[:min(len(input), 200)])
	spec := registry.Spec{Kind: kind, Disposition: registry.Rerunnable, Input: []byte(input)}
	started, err := b.registry.Start(b.t.Context(), spec.With(append([]registry.StartOption{id}, opts...)...))
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.runner.Drive(b.t.Context(), runner.Poke); err != nil {
		b.t.Fatal(err)
	}
	if b.taken == nil || b.taken.ID != started.ID {
		b.t.Fatalf("claimed %v, want %s", b.taken, started.ID)
	}
	return started.ID, b.runner.Run(ctx, b.taken).Err
}

func TestExecCompletesWithItsOutput(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, ExecOptions{Env: []string{"PATH=/usr/bin:/bin", "A=base", "DROVER_NODE=outer", "PWD=/stale"}, Dir: dir})
	p := b.run(t.Context(), "exec", `{"argv":["sh","-c","echo $A $DROVER_ATTEMPT $DROVER_NODE $PWD; test $DROVER_FENCE -gt 0; echo \"<$DROVER_PROCESS_ID>\" >&2"],"env":{"A":"input","DROVER_ATTEMPT":"99"}}`)
	want := `{"exit_code":0,"stdout":"input 1 n1 ` + dir + `\n","stderr":"<`
	if p.Status != registry.StatusCompleted || !strings.HasPrefix(string(p.Output), want) || !strings.HasSuffix(string(p.Output), `>\n","truncated":false}`) {
		t.Errorf("%s with output %s (%s), want %s...", p.Status, p.Output, p.Error, want)
	}
}

func TestExecKeepsTheOutputOfTheLastFailure(t *testing.T) {
	b := newBench(t, ExecOptions{})
	p := b.run(t.Context(), "exec", `{"argv":["sh","-c","echo half; echo no luck >&2; exit 3"]}`, registry.MaxAttempts(1))
	if p.Status != registry.StatusFailed || p.Error != "exit status 3: no luck" ||
		string(p.Output) != `{"exit_code":3,"stdout":"half\n","stderr":"no luck\n","truncated":false}` {
		t.Errorf("%s, %q, output %s", p.Status, p.Error, p.Output)
	}
	p = b.run(t.Context(), "exec", `{"argv":["false"]}`, registry.MaxAttempts(2))
	if p.Status != registry.StatusScheduled || p.Errors != 1 || p.History[0].Error != "exit status 1" {
		t.Errorf("%s after %d errors, history %+v; want it scheduled", p.Status, p.Errors, p.History)
	}
}

func TestExecThatCannotBeStartedFailsWithoutRetry(t *testing.T) {
	b := newBench(t, ExecOptions{})
	for input, want := range map[string]struct{ err, output string }{
		`{"argv":["no-such-command"]}`: {
			"no-such-command: command not found in PATH: file does not exist",
			`{"exit_code":127,"stdout":"","stderr":"","truncated":false}`,
		},
		`{"argv":["/etc/passwd"]}`: {
			`exec "/etc/passwd": permission denied`,
			`{"exit_code":126,"stdout":"","stderr":"","truncated":false}`,
		},
		`{"argv":["true"],"dir":"/missing"}`: {
			`the command's directory: chdir "/missing": no such file or directory`,
			`{"exit_code":125,"stdout":"","stderr":"","truncated":false}`,
		},
		`{"argv":["true"],"user":"root"}`: {`input of exec: json: unknown field "user"`, ``},
	} {
		p := b.run(t.Context(), "exec", input, registry.MaxAttempts(5))
		if p.Status != registry.StatusFailed || p.Errors > 1 || p.Error != want.err || string(p.Output) != want.output {
			t.Errorf("%s: %s, %q, output %s", input, p.Status, p.Error, p.Output)
		}
	}
}

func TestExecStopsWhenItIsTold(t *testing.T) {
	w := newSignalWriter()
	b := newBench(t, ExecOptions{Stdout: w})
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-w.ready; cancel(runner.ErrCancelRequested) }()
	p := b.run(ctx, "exec", `{"argv":["sh","-c","echo; sleep 1000 & wait"]}`)
	if p.Status != registry.StatusCancelled || p.Error != "cancel requested: signal: terminated" {
		t.Errorf("%s, %q", p.Status, p.Error)
	}
}

func TestExecShowsTheTailOfWhatRuns(t *testing.T) {
	dir := t.TempDir()
	b := newBench(t, ExecOptions{LogDir: dir})
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan struct{})
	id := "tail"
	go func() {
		defer close(ended)
		b.run(ctx, "exec", `{"argv":["sh","-c","printf %05000d 7; printf \\\\342\\\\202 >&2; sleep 1000"]}`, registry.ID(id))
	}()
	defer func() { cancel(runner.ErrCancelRequested); <-ended }()
	var got ExecProgress
	var fence int64
	for deadline := time.Now().Add(time.Minute); got.Stdout.Bytes < 5000; <-time.After(10 * time.Millisecond) {
		p, err := b.registry.Get(t.Context(), id)
		if err == nil && p.Progress != nil {
			got, fence = ExecProgress{}, p.Claim.Fence
			if err := json.Unmarshal(p.Progress, &got); err != nil {
				t.Fatal(err)
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("progress %+v", got)
		}
	}
	base := dir + "/tail/1." + strconv.FormatInt(fence, 10)
	if *got.Log != (ExecLog{Node: "n1", Stdout: base + ".stdout", Stderr: base + ".stderr"}) {
		t.Errorf("log %+v, want %s.*", got.Log, base)
	}
	got.Log = nil
	if want := (ExecProgress{Attempt: 1, Stdout: StreamProgress{5000, repeat("0", 4095) + "7"}}); got != want {
		t.Errorf("progress %+v", got)
	}
}

func TestSleepAndNoop(t *testing.T) {
	b := newBench(t, ExecOptions{})
	if p := b.run(t.Context(), "noop", `{"any":"thing"}`); p.Status != registry.StatusCompleted || p.Output != nil {
		t.Errorf("noop: %s, output %s", p.Status, p.Output)
	}
	if p := b.run(t.Context(), "sleep", `{"duration":"1ms"}`); p.Status != registry.StatusCompleted {
		t.Errorf("sleep: %s, %q", p.Status, p.Error)
	}
	for input, says := range map[string]string{
		`{}`:                              `it must be like "10s"`,
		`{"duration":"-1s"}`:              "it must not be negative",
		`{"duration":10}`:                 "cannot unmarshal number",
		`{"duration":"1s","jitter":"1s"}`: "unknown field",
	} {
		p := b.run(t.Context(), "sleep", input, registry.MaxAttempts(5))
		if p.Status != registry.StatusFailed || !strings.Contains(p.Error, says) {
			t.Errorf("sleep %s: %s, %q, want it failed and to say %q", input, p.Status, p.Error, says)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(runner.ErrCancelRequested) })
	if p := b.run(ctx, "sleep", `{"duration":"1h"}`); p.Status != registry.StatusCancelled {
		t.Errorf("a sleep that was cancelled: %s, %q", p.Status, p.Error)
	}
}
