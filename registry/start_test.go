package registry

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestStartIsIdempotent(t *testing.T) {
	r := newRegistry(t)
	s := Spec{ID: "p", Kind: "k", Disposition: Rerunnable, Input: json.RawMessage(`{"a": 1}`)}
	got, err := r.Start(t.Context(), s)
	noErr(t, err)
	if got != (Started{ID: "p", Series: 1}) {
		t.Fatalf("started %+v", got)
	}
	one := 1
	spelled := Spec{
		ID: "p", Kind: "k", Queue: "default", Priority: &one, Disposition: Rerunnable, MaxAttempts: 10,
		Backoff: Duration(time.Second), Input: json.RawMessage("\n{ \"a\" :1 }\t"), DueAt: time.Now().Add(time.Hour),
	}
	again, err := r.Start(t.Context(), spelled)
	noErr(t, err)
	if again != (Started{ID: "p", Series: 1, Existing: true}) {
		t.Fatalf("started again %+v", again)
	}
	noErr(t, r.Complete(t.Context(), claim(t, r, join(t, r, "n"), "p"), nil))
	again, err = r.Start(t.Context(), s)
	noErr(t, err)
	if !again.Existing {
		t.Fatal("the start of an ended process made another one")
	}
	wants(t, r, "p", StatusCompleted, 1, 0, 0, 0)
}

func TestStartRejectsAnotherSpecUnderTheSameID(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p", input(`1`))
	for name, change := range map[string]StartOption{
		"input":    input(`2`),
		"queue":    Queue("other"),
		"priority": Priority(0),
		"attempts": MaxAttempts(3),
		"backoff":  Backoff(time.Minute),
		"kind":     func(s *Spec) { s.Kind = "other" },
	} {
		s := Spec{ID: "p", Kind: "k", Disposition: Rerunnable, Input: json.RawMessage(`1`)}
		if _, err := r.Start(t.Context(), s.With(change)); !errors.Is(err, ErrConflict) {
			t.Errorf("another %s: %v, want ErrConflict", name, err)
		}
	}
	if n := len(pending(t, r)); n != 1 {
		t.Errorf("%d are pending, want 1", n)
	}
}

func TestStartMakesAnIDThatGrows(t *testing.T) {
	r := newRegistry(t)
	before := ""
	for range 3 {
		got, err := r.Start(t.Context(), Spec{Kind: "k", Disposition: Rerunnable})
		noErr(t, err)
		if len(got.ID) != 36 || got.ID <= before {
			t.Fatalf("id %q after %q", got.ID, before)
		}
		before = got.ID
	}
}

// dead is a registry whose etcd does not answer.
func dead(t *testing.T) *Registry {
	t.Helper()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix:///nobody/listens/here"}, Logger: zap.NewNop()})
	noErr(t, err)
	t.Cleanup(func() { _ = client.Close() })
	k := newKeys("dead")
	o := Options{Namespace: "dead", RequestTimeout: time.Hour, MaxInput: 100}.withDefaults()
	r := &Registry{client: client, options: o, log: o.Logger, keys: k, table: table{k}, closed: make(chan struct{})}
	r.waiting = newWaitingRoom(r)
	return r
}

func TestNothingInvalidIsSent(t *testing.T) {
	r := dead(t)
	good := Spec{ID: "p", Kind: "k", Disposition: Rerunnable}
	for name, opt := range map[string]StartOption{
		"blank id":            ID(" \t "),
		"long id":             ID(strings.Repeat("x", 256)),
		"id with a control":   ID("a\nb"),
		"id that is no UTF-8": ID("\xff"),
		"no kind":             func(s *Spec) { s.Kind = "" },
		"kind with a slash":   func(s *Spec) { s.Kind = "a/b" },
		"long queue":          Queue(strings.Repeat("q", 65)),
		"priority 4":          Priority(4),
		"priority -1":         Priority(-1),
		"no disposition":      func(s *Spec) { s.Disposition = "" },
		"negative attempts":   MaxAttempts(-1),
		"negative backoff":    Backoff(-1),
		"input":               input(`{`),
		"due before 1970":     At(time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC)),
		"due in 2600":         At(time.Date(2600, 1, 1, 0, 0, 0, 0, time.UTC)),
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if _, err := r.Start(ctx, good.With(opt)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want ErrInvalid", name, err)
		}
		cancel()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var big *TooLargeError
	if _, err := r.Start(ctx, good.With(input(`"`+strings.Repeat("<", 99)+`"`))); !errors.As(err, &big) {
		t.Errorf("a large input: %v, want a TooLargeError", err)
	} else if *big != (TooLargeError{What: "input", Size: 101, Max: 100}) {
		t.Errorf("too large: %+v", *big)
	}
	_, err := r.Get(ctx, "")
	wantErr(t, err, ErrInvalid)
	_, err = r.Cancel(ctx, "a\x00", Request{})
	wantErr(t, err, ErrInvalid)
	_, err = r.Wait(ctx, "\xff")
	wantErr(t, err, ErrInvalid)
	wantErr(t, r.Poke(ctx, "a/b"), ErrInvalid)
	_, err = r.OpenSession(ctx, NodeInfo{}, 0)
	wantErr(t, err, ErrInvalid)
	c := &Claim{ID: "p", Session: &Session{}}
	wantErr(t, r.Complete(ctx, c, json.RawMessage(`{`)), ErrInvalid)
	if err := r.Complete(ctx, c, json.RawMessage(`"`+strings.Repeat("<", 99)+`"`)); !errors.As(err, &big) {
		t.Errorf("a large output: %v, want a TooLargeError", err)
	}
}

func TestValidateReportsAllFaultsTogether(t *testing.T) {
	err := Spec{ID: " ", Kind: "/", Queue: "?", MaxAttempts: -1, Backoff: -1, Input: json.RawMessage(`{`)}.Validate()
	for _, word := range []string{"process id", "kind", "queue", "disposition", "max attempts", "backoff", "input"} {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q says nothing of the %s", err, word)
		}
	}
}

func TestOpenReportsAllFaultsTogether(t *testing.T) {
	_, err := Open(t.Context(), nil, Options{Namespace: "a/b", MaxInput: 512<<10 + 1, RequestTimeout: -1})
	for _, word := range []string{"namespace", "MaxInput", "RequestTimeout"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%q says nothing of %s", err, word)
		}
	}
}

// The limit is on encoded bytes: with HTML escaping half a MiB of '<' would be
// three, more than etcd takes.
func TestLargestInputAndOutputPass(t *testing.T) {
	r := registryOn(t, etcdtest.Client(t), Options{MaxInput: 512 << 10})
	largest := `"` + strings.Repeat("<", 512<<10-2) + `"`
	start(t, r, "p", input(largest))
	c := claim(t, r, join(t, r, "n"), "p")
	if string(c.Input) != largest {
		t.Errorf("the claim has %d bytes of input", len(c.Input))
	}
	noErr(t, r.Complete(t.Context(), c, json.RawMessage(" "+largest+"\n")))
	p := lookAt(t, r, "p")
	if string(p.Input) != largest || string(p.Output) != largest {
		t.Errorf("%d bytes of input, %d of output", len(p.Input), len(p.Output))
	}
	var big *TooLargeError
	_, err := r.Start(t.Context(), Spec{ID: "q", Kind: "k", Disposition: Rerunnable, Input: json.RawMessage(`"<` + largest[1:])})
	if !errors.As(err, &big) || big.Size != 512<<10+1 {
		t.Errorf("one byte more: %v", err)
	}
}

func TestInputsOverFourKiBHaveAKeyOfTheirOwn(t *testing.T) {
	r := newRegistry(t)
	small, large := `"`+strings.Repeat("s", 4094)+`"`, `"`+strings.Repeat("l", 4095)+`"`
	start(t, r, "small", input(small))
	start(t, r, "large", input(large))
	s := join(t, r, "n")
	for id, want := range map[string]string{"small": small, "large": large} {
		c := claim(t, r, s, id)
		if string(c.Input) != want {
			t.Errorf("%s: %d bytes of input", id, len(c.Input))
		}
		noErr(t, r.Fail(t.Context(), c, "boom", "", json.RawMessage(want)))
		if p := lookAt(t, r, id); string(p.Input) != want || string(p.Output) != want || p.Error != "boom" {
			t.Errorf("%s: %d bytes of input, %d of output, error %q", id, len(p.Input), len(p.Output), p.Error)
		}
	}
	for prefix, want := range map[string]string{"input/": "input/large", "output/": "output/large"} {
		if got := strings.Join(keysUnder(t, r, prefix), " "); got != want {
			t.Errorf("under %s: %s, want %s", prefix, got, want)
		}
	}
}

func TestAnyLegalIDWorks(t *testing.T) {
	r := newRegistry(t)
	s := join(t, r, "n")
	ids := []string{"a", "a/b", "a%2Fb", "%", "50 % / 2", "/", "img/42/", "ü-日本-🐑", "..", strings.Repeat("%", 255), "a b"}
	for _, id := range ids {
		start(t, r, id, input(`"`+strings.Repeat("x", 5000)+`"`))
	}
	for _, id := range ids {
		noErr(t, r.Retry(t.Context(), claim(t, r, s, id), time.Now(), "once"))
		wants(t, r, id, StatusPending, 1, 1, 0, 0)
		c := claim(t, r, s, id)
		wants(t, r, id, StatusRunning, 2, 1, 0, 0)
		noErr(t, r.Complete(t.Context(), c, json.RawMessage(`true`)))
	}
	page, err := r.List(t.Context(), Filter{Statuses: []Status{StatusCompleted}})
	noErr(t, err)
	if len(page.Processes) != len(ids) || len(page.Corrupt) != 0 {
		t.Fatalf("listed %d of %d, %v", len(page.Processes), len(ids), page.Corrupt)
	}
	for _, p := range page.Processes {
		if p.Attempt != 2 {
			t.Errorf("%q has %d attempts", p.ID, p.Attempt)
		}
	}
}

func TestNullIsAnInputAndNothingIsNone(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "null", input(`null`))
	start(t, r, "none")
	if got := lookAt(t, r, "null").Input; string(got) != "null" {
		t.Errorf("the input null became %q", got)
	}
	if got := lookAt(t, r, "none").Input; got != nil {
		t.Errorf("no input became %q", got)
	}
}

func TestJSONIsWrittenWithoutHTMLEscaping(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p", input(`"<&>"`))
	_, v, err := readRow(t, r, "p")
	noErr(t, err)
	if value := string(v[r.keys.process("p")].Value); !strings.Contains(value, `"input":"<&>"`) {
		t.Errorf("the row is %s", value)
	}
	if got, err := Encode("<&>"); err != nil || string(got) != `"<&>"` {
		t.Errorf("encoded %s, %v", got, err)
	}
}
