package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/drover-run/drover/registry"
)

func TestClientCommandsKeepTheirExitCodes(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	c.must("start", "noop", "--id", "done", "--wait")
	c.must("start", "elsewhere", "--disposition", "rerunnable", "--id", "waits")
	c.must("start", "noop", "--queue", "nobodys", "--id", "gone")
	c.must("cancel", "gone", "--reason", "no need")
	c.do("start", "exec", "--id", "failed", "--max-attempts", "1", "--wait", "--", "false")

	for _, tt := range []struct {
		args string
		code int
		says string // on standard error; "": nothing may stand there
	}{
		{"start noop --id done", 0, ""},
		{"start noop --id done --priority 2", 4, "another process has this id"},
		{"start noop --id", 2, "--id needs a value"},
		{"start elsewhere", 2, "--disposition"},
		{"start noop --priority 4", 2, "--priority 4"},
		{"start noop --queue a/b", 2, "queue"},
		{"start noop --input {", 2, "not JSON"},
		{"start noop --frob", 2, "unknown flag"},
		{"start exec", 2, "after --"},
		{"start exec --id ran --wait -- true", 0, ""},
		{"start exec --id ran2 --max-attempts 1 --wait -- sh -c false", 1, "exit status 1"},
		{"get done", 0, ""},
		{"get nothing", 3, "no such process"},
		{"get", 2, ""},
		{"list --status done", 2, "--status done: each must be scheduled"},
		{"list --limit 0", 2, "from 1 to 10000"},
		{"wait done", 0, ""},
		{"wait done --timeout 0s", 0, ""},
		{"wait failed", 1, "exit status 1"},
		{"wait gone", 1, "no need"},
		{"wait nothing", 3, "no such process"},
		{"wait waits --timeout 10ms", 6, "--timeout passed"},
		{"wait", 2, ""},
		{"output done", 0, ""},
		{"output waits", 1, "no output yet"},
		{"output nothing", 3, "no such process"},
		{"cancel done", 4, "has ended"},
		{"cancel nothing", 3, "no such process"},
		{"cancel", 2, ""},
		{"nodes", 0, ""},
		{"poke", 0, ""},
		{"poke nobody", 1, "no living node"},
		{"frob", 2, "frob"},
		{"-o yaml list", 2, "text or json"},
		{"-n no/name list", 2, "namespace"},
	} {
		r := c.do(strings.Fields(tt.args)...)
		if r.code != tt.code || !strings.Contains(r.errs, tt.says) {
			t.Errorf("drover %s: exit code %d, want %d; it said %q, want %q", tt.args, r.code, tt.code, r.errs, tt.says)
		}
		switch {
		case tt.code != 0:
			oneLine(t, r.errs)
		case r.errs != "":
			t.Errorf("drover %s is fine, and said %q", tt.args, r.errs)
		}
	}
	if r := c.do("start", "noop", "--id", ""); r.code != 2 {
		t.Errorf("an empty id: exit code %d, want 2", r.code)
	}
}

func TestHighestExitCodeWins(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "done", "--wait")
	c.must("start", "elsewhere", "--disposition", "rerunnable", "--id", "waits")
	r := c.do("wait", "waits", "nothing", "done", "--timeout", "10ms")
	if r.code != 6 || r.out != "done completed\n" || !strings.Contains(r.errs, "nothing: no such process\n") {
		t.Errorf("wait: exit code %d, %q, %q; want 6, and each told of", r.code, r.out, r.errs)
	}
	if r := c.do("cancel", "nothing", "done", "waits"); r.code != 4 || r.out != "waits cancelled\n" {
		t.Errorf("cancel: exit code %d, %q, %q; want 4, and one cancelled", r.code, r.out, r.errs)
	}
}

func TestUnreachableEtcdIsCode5(t *testing.T) {
	t.Parallel()
	c := client{t, "http://127.0.0.1:1"}
	for _, args := range []string{"list", "get x", "wait x", "wait x --timeout 1ms", "output x", "cancel x", "nodes", "poke", "start noop", "serve",
		"abandon x --reason r", "retry x", "prune --older-than 1h", "watch", "get x -w", "list -w", "queues", "pause q", "resume q", "status", "doctor"} {
		r := c.do(append([]string{"--request-timeout", "200ms"}, strings.Fields(args)...)...)
		if r.code != 5 || r.out != "" || !strings.Contains(r.errs, "http://127.0.0.1:1 within 200ms") {
			t.Errorf("drover %s: exit code %d, %q, %q; want 5", args, r.code, r.out, r.errs)
		}
		oneLine(t, r.errs)
	}
}

func TestEndpointsAreFound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, "serve", "--data-dir", dir, "--etcd-listen", "127.0.0.1:0", "-o", "json")
	p.readyAt()
	out, errs, code := drover(t, "", "start", "noop", "--data-dir", dir, "--id", "here", "--wait")
	if code != 0 || out != "here\n" {
		t.Errorf("exit code %d, %q, %q: the etcd of the data directory was not used", code, out, errs)
	}
}

func TestNamespacesAreApart(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "-n", "one", "--id", "a")
	if r := c.do("get", "-n", "two", "a"); r.code != 3 {
		t.Errorf("exit code %d, want 3: %s", r.code, r.out)
	}
	if got := c.must("-n", "one", "list", "-q"); got != "a\n" {
		t.Errorf("listed %q", got)
	}
}

func TestProcessAsJSONHasTheFieldsOfTheContract(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--node", "n1", "--allow", "exec")
	keys := func(o map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(o)), " ") }
	const always = "adoptions attempt backoff created_at disposition errors id kind max_attempts priority queue series snoozes status"
	want := func(name string, o map[string]any, more string) {
		t.Helper()
		fields := append(strings.Fields(always), strings.Fields(more)...)
		slices.Sort(fields)
		if got := keys(o); got != strings.Join(fields, " ") {
			t.Errorf("%s has %s, want %s", name, got, strings.Join(fields, " "))
		}
	}
	if o := c.object("start", "noop", "--id", "x"); len(o) != 1 || o["id"] != "x" {
		t.Errorf("start printed %v", o)
	}
	c.must("start", "elsewhere", "--disposition", "rerunnable", "--id", "waits")
	want("one that waits", c.object("get", "waits"), "")

	c.must("start", "sleep", "--id", "runs", "--input", `{"duration":"1h"}`)
	c.reaches("runs", "running")
	o := c.object("get", "runs")
	want("one that runs", o, "claim input started_at")
	if claim, _ := o["claim"].(map[string]any); keys(claim) != "claimed_at fence node session" || claim["node"] != "n1" {
		t.Errorf("the claim is %v", o["claim"])
	}

	o = c.object("start", "exec", "--id", "did", "--wait", "--", "echo", "hi")
	want("one that completed", o, "fence finished_at history input output started_at")
	output, _ := json.Marshal(o["output"])
	if string(output) != `{"exit_code":0,"stderr":"","stdout":"hi\n","truncated":false}` {
		t.Errorf("the output is %s", output)
	}
	history, _ := o["history"].([]any)
	if len(history) != 1 || keys(history[0].(map[string]any)) != "attempt ended_at fence node started_at" {
		t.Errorf("the history is %v", history)
	}

	c.do("start", "exec", "--id", "didnot", "--max-attempts", "1", "--wait", "--", "sh", "-c", "echo why >&2; exit 3")
	o = c.object("get", "didnot")
	want("one that failed", o, "error fence finished_at history input output started_at outcome_reason")
	if o["error"] != "exit status 3: why" || o["status"] != "failed" || o["errors"] != 1.0 {
		t.Errorf("it failed with %v, %v, %v", o["status"], o["error"], o["errors"])
	}
	if out := c.must("list", "-o", "json"); strings.Contains(out, `"input"`) || strings.Contains(out, `"history"`) || strings.Count(out, "\n") != 5 {
		t.Errorf("list is not brief, or not a line each:\n%s", out)
	}
	if out := c.must("list", "-o", "json", "--full"); strings.Count(out, `"input"`) != 3 || strings.Count(out, `"history"`) != 3 {
		t.Errorf("list --full lacks something:\n%s", out)
	}
}

func TestOutputOfACommandIsItsStreams(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	c.must("start", "exec", "--id", "e", "--wait", "--", "sh", "-c", "echo out; echo err >&2")
	if r := c.do("output", "e"); r != (result{"out\n", "err\n", 0}) {
		t.Errorf("output: %+v", r)
	}
	if r := c.do("output", "e", "-o", "json"); r != (result{`{"exit_code":0,"stdout":"out\n","stderr":"err\n","truncated":false}` + "\n", "", 0}) {
		t.Errorf("output -o json: %+v", r)
	}
}

func TestCommandsGetWhatTheirFlagsSay(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--node", "n1", "--allow", "exec")
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "in")
	if err := os.WriteFile(file, []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const script = `cat; pwd; echo "$A $DROVER_PROCESS_ID $DROVER_ATTEMPT $DROVER_NODE"`
	c.must("start", "exec", "--id", "ü/1", "--env", "A=b=c", "--dir", dir, "--stdin", "@"+file, "--wait", "--", "sh", "-c", script)
	if got, want := c.must("output", "ü/1"), "from a file\n"+dir+"\nb=c ü/1 1 n1\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if r := c.feed("piped", "start", "exec", "--id", "p", "--stdin", "-", "--wait", "--", "cat"); r.code != 0 {
		t.Errorf("exit code %d: %s", r.code, r.errs)
	}
	if got := c.must("output", "p"); got != "piped" {
		t.Errorf("got %q", got)
	}
	for _, args := range [][]string{{"--stdin", "-", "--", "cat"}, {"--", "cat", "\xff"}, {"--env", "A=\xff", "--", "cat"}} {
		r := c.feed("\xff\x00", append([]string{"start", "exec"}, args...)...)
		if r.code != 2 || !strings.Contains(r.errs, "UTF-8") {
			t.Errorf("%q: exit code %d, %q; a row would hold something else", args, r.code, r.errs)
		}
	}
}

func TestInputsOverTheLimitAreNotStored(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	quoted := func(n int) string { return `"` + strings.Repeat("x", n-2) + `"` }
	if r := c.feed(quoted(65536), "start", "noop", "--id", "fits", "--input", "-", "--wait"); r.code != 0 {
		t.Errorf("64 KiB: exit code %d: %s", r.code, r.errs)
	}
	r := c.feed(quoted(65537), "start", "noop", "--id", "big", "--input", "-")
	if r.code != 2 || r.errs != "drover: input of 65537 bytes is over the limit of 65536\n" {
		t.Errorf("over 64 KiB: exit code %d, %q", r.code, r.errs)
	}
	if r := c.do("get", "big"); r.code != 3 {
		t.Errorf("it was stored: %s", r.out)
	}
}

func TestListPagesAndFilters(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	const batch = `{"id":"a","kind":"noop"}
{"id":"b","kind":"noop","queue":"other"}
{"id":"c","kind":"sleep","input":{"duration":"0s"}}
{"id":"d","kind":"noop","queue":"other"}
`
	if r := c.feed(batch, "start", "--batch", "-"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	c.must("wait", "a", "c") // nobody serves the other queue
	for args, want := range map[string]string{
		"":                           "a\nb\nc\nd\n",
		"--limit 2":                  "a\nb\n",
		"--after b":                  "c\nd\n",
		"--after b --limit 1":        "c\n",
		"--queue other":              "b\nd\n",
		"--kind sleep":               "c\n",
		"--kind noop --queue other":  "b\nd\n",
		"--status pending":           "b\nd\n",
		"--status completed,pending": "a\nb\nc\nd\n",
		"--status failed":            "",
		"--after d":                  "",
	} {
		r := c.do(append([]string{"list", "-q"}, strings.Fields(args)...)...)
		if r.code != 0 || r.out != want {
			t.Errorf("list %s: exit code %d, %q, want %q", args, r.code, r.out, want)
		}
	}
	if r := c.do("list", "-q", "--limit", "2"); !strings.Contains(r.errs, "drover list --after b\n") {
		t.Errorf("a list that was cut hints nothing: %q", r.errs)
	}
	if r := c.do("list", "-q", "--limit", "4"); r.errs != "" {
		t.Errorf("a list that is whole hints at more: %q", r.errs)
	}
}

func TestBatchIsStartedWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	for name, tt := range map[string]struct{ line, says string }{
		"an unknown field": {`{"kind":"noop","inputs":1}`, `line 3: json: unknown field "inputs"`},
		"half a line":      {`{"kind":"noop"`, "line 3: unexpected EOF"},
		"two on a line":    {`{"kind":"noop"} {"kind":"noop"}`, "line 3: there is more than one JSON value"},
		"no kind":          {`null`, "line 3: it names no kind"},
		"another's kind":   {`{"kind":"other"}`, "line 3: kind other is not one of drover's own"},
		"a bad queue":      {`{"kind":"noop","queue":"a b"}`, `line 3: invalid: queue "a b"`},
		"too large":        {`{"kind":"noop","input":"` + strings.Repeat("x", 65536) + `"}`, "line 3: input of 65538 bytes"},
	} {
		r := c.feed(`{"kind":"noop","id":"first"}`+"\n\n"+tt.line+"\n", "start", "--batch", "-")
		if r.code != 2 || r.out != "" || !strings.Contains(r.errs, tt.says) || !strings.Contains(r.errs, "nothing was started") {
			t.Errorf("%s: exit code %d, %q, %q", name, r.code, r.out, r.errs)
		}
		oneLine(t, r.errs)
	}
	if out := c.must("list", "-q"); out != "" {
		t.Errorf("started all the same: %q", out)
	}
	// A conflict shows only when it is written, and names its line as well.
	r := c.feed(`{"kind":"noop","id":"x"}`+"\n\n"+`{"kind":"noop","id":"x","priority":0}`, "start", "--batch", "-")
	if r.code != 4 || r.out != "x\n" || !strings.Contains(r.errs, "line 3 of the batch: ") || !strings.Contains(r.errs, "1 of 2 were started") {
		t.Errorf("a conflict: exit code %d, %q, %q", r.code, r.out, r.errs)
	}
	r = c.feed(`{"kind":"noop","id":"z"}`+"\n"+`{"kind":"noop","id":"y"}`, "start", "--batch", "-", "-o", "json")
	if r != (result{"{\"id\":\"z\"}\n{\"id\":\"y\"}\n", "", 0}) {
		t.Errorf("a good one: %+v", r)
	}
}

func TestNodesAndPoke(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--node", "n1", "--queues", "a,b", "--max-running", "3")
	n := c.object("nodes")
	if n["name"] != "n1" || n["running"] != 0.0 || n["max"] != 3.0 || n["version"] != "dev" || n["session"] == "" || n["since"] == "" || len(n) != 7 {
		t.Errorf("nodes printed %v", n)
	}
	queues, _ := json.Marshal(n["queues"])
	if string(queues) != `["a","b"]` {
		t.Errorf("it serves %s", queues)
	}
	if r := c.do("poke", "n1"); r != (result{}) {
		t.Errorf("poke: %+v", r)
	}
	if r := c.do("poke"); r != (result{}) {
		t.Errorf("poke all: %+v", r)
	}
}

func TestAStartedProcessDoesNotWaitForThePoll(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--poll", "10s")
	for _, id := range []string{"one", "two", "three"} {
		c.must("start", "noop", "--id", id, "--wait")
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	c.must("start", "noop", "--queue", "nobodys", "--id", "waits")
	if o := c.object("cancel", "waits", "--reason", "changed my mind"); o["id"] != "waits" || o["cancel"] != "cancelled" || len(o) != 2 {
		t.Errorf("cancel printed %v", o)
	}
	if o := c.object("get", "waits"); o["status"] != "cancelled" || o["attempt"] != 0.0 || o["outcome_reason"] != "changed my mind" {
		t.Errorf("it is %v", o)
	}
	mark := t.TempDir()
	c.must("start", "exec", "--id", "runs", "--env", "CANCEL_TEST="+mark, "--", "sh", "-c", "sleep 1000 & wait")
	c.reaches("runs", "running")
	eventually(t, "the command to run", func() bool { return len(survivors(t, "CANCEL_TEST="+mark)) == 2 })
	if r := c.do("cancel", "runs", "--wait"); r != (result{"runs cancelled\n", "", 0}) {
		t.Errorf("cancel --wait: %+v", r)
	}
	if s := survivors(t, "CANCEL_TEST="+mark); len(s) != 0 {
		t.Errorf("still running: %q", s)
	}
	p := processes(t, "get", "runs", "--endpoints", c.endpoint)[0]
	if p.Status != registry.StatusCancelled || p.Errors != 0 || p.Attempt != 1 {
		t.Errorf("%s after %d errors in attempt %d", p.Status, p.Errors, p.Attempt)
	}
}

func TestHelpVersionAndCompletions(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--version", "--help", "run --help", "completion bash", "completion zsh", "completion fish"} {
		out, errs, code := drover(t, "", strings.Fields(args)...)
		if code != 0 || !strings.Contains(out, "drover") || errs != "" {
			t.Errorf("drover %s: exit code %d, %d bytes, %q", args, code, len(out), errs)
		}
	}
}
