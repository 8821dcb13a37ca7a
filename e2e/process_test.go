package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/drover-run/drover/registry"
)

func (c client) process(id string) registry.Process {
	c.t.Helper()
	return processes(c.t, "get", id, "--endpoints", c.endpoint)[0]
}

func TestStartTakesTimesLimitsAndLabels(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "plain")
	c.must("start", "noop", "--id", "later", "--delay", "1h", "--max-attempts", "3", "--backoff", "2s", "--attempt-timeout", "1m",
		"--deadline", "48h", "--disposition", "owner-bound", "--priority", "0", "-l", "team=blue", "--label", "for=a=b")
	p := c.process("later")
	if in := time.Until(p.DueAt); p.Status != "scheduled" || in > time.Hour || in < 59*time.Minute {
		t.Errorf("%s, due in %s; want it scheduled for an hour from now", p.Status, in)
	}
	limits := fmt.Sprintln(p.MaxAttempts, p.Backoff, p.AttemptTimeout, p.Deadline, p.Disposition, p.Priority, p.Labels)
	if limits != "3 2s 1m0s 48h0m0s owner-bound 0 map[for:a=b team:blue]\n" {
		t.Errorf("its limits are %s", limits)
	}
	c.must("start", "noop", "--id", "at", "--at", "2100-01-02T03:04:05.5+01:00")
	if due := c.object("get", "at")["due_at"]; due != "2100-01-02T02:04:05.5Z" {
		t.Errorf("it is due at %v", due)
	}
	c.must("start", "noop", "--id", "past", "--at", "2001-01-01T00:00:00Z", "--wait")
	c.must("start", "noop", "--id", "now", "--delay", "0s", "--wait")
	c.must("start", "noop", "--id", "soon", "--delay", "50ms", "--wait")
	// What its kind decides is left to the kind, and is the same spec when spelled out.
	c.must("start", "noop", "--id", "plain", "--max-attempts", "10", "--backoff", "1s")

	r := c.do("start", "noop", "--queue", "nobodys", "--id", "late", "--deadline", "100ms", "--wait")
	if p := c.process("late"); r.code != 1 || p.Status != "failed" || p.OutcomeReason != "deadline passed" || p.Attempt != 0 {
		t.Errorf("exit code %d, %s with reason %q in attempt %d", r.code, p.Status, p.OutcomeReason, p.Attempt)
	}
	r = c.do("start", "sleep", "--input", `{"duration":"1h"}`, "--id", "slow", "--attempt-timeout", "100ms", "--max-attempts", "1", "--wait")
	if p := c.process("slow"); r.code != 1 || p.Status != "failed" || p.Errors != 1 {
		t.Errorf("exit code %d, %s after %d errors: %q", r.code, p.Status, p.Errors, r.errs)
	}
}

func TestStartRefusesWhatDoesNotGoTogether(t *testing.T) {
	t.Parallel()
	c := client{t, "http://127.0.0.1:1"} // wrong usage is found before anybody is asked
	for args, says := range map[string]string{
		"noop --delay 1s --at 2030-01-01T00:00:00Z":             "--delay does not go with --at",
		"noop --delay 1s --disposition external":                "--delay and --at do not go with --disposition external",
		"noop --at 2030-01-01T00:00:00Z --disposition external": "--delay and --at do not go with --disposition external",
		"noop --delay -1s":                     "--delay -1s",
		"noop --delay soon":                    "--delay",
		"noop --at tomorrow":                   "--at tomorrow: it must be a time such as",
		"noop --at 2030-01-01":                 "--at 2030-01-01:",
		"noop --at 1900-01-01T00:00:00Z":       "in the years 1970 to 2261",
		"noop --max-attempts 0":                "--max-attempts 0",
		"noop --backoff 0s":                    "--backoff 0s",
		"noop --attempt-timeout 0s":            "--attempt-timeout 0s",
		"noop --deadline -1h":                  "--deadline -1h",
		"noop --max-attempts -1 --deadline 0s": "--max-attempts -1",
		"noop --disposition forever":           "--disposition forever: it must be rerunnable, owner-bound or external",
		"noop -l team":                         "--label team: it must be K=V",
		"noop -l =blue":                        "--label =blue",
		"noop -l a/b=c":                        "--label a/b=c",
		"noop -l a=1 -l a=2":                   `--label a: it is given as "1" and as "2"`,
		"noop -- true":                         "goes with the kind exec",
		"noop --batch x":                       "--batch takes the kinds from its lines",
		"--batch x --priority 1":               "--priority: it does not go with --batch",
		"--batch /does/not/exist":              "/does/not/exist",
		"exec --input {} -- true":              "not with --input",
		"sleep --input @/does/not/exist":       "--input: open /does/not/exist",
		"sleep --input {\"duration\":\"1s\",\"until\":\"tomorrow\"}": "until",
	} {
		r := c.do(append([]string{"start"}, strings.Fields(args)...)...)
		if r.code != 2 || r.out != "" || !strings.Contains(r.errs, says) {
			t.Errorf("start %s: exit code %d, %q, %q; want 2 and %q", args, r.code, r.out, r.errs, says)
		}
		oneLine(t, r.errs)
	}
	for _, empty := range []string{"--id", "--queue"} {
		if r := c.do("start", "noop", empty, ""); r.code != 2 {
			t.Errorf("an empty %s: exit code %d, want 2", empty, r.code)
		}
	}
}

func TestBatchTakesEveryFieldOfASpec(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	const batch = `{"kind":"noop","id":"all","queue":"q","priority":3,"disposition":"owner-bound","max_attempts":4,"backoff":"3s","attempt_timeout":"5s","deadline":"24h","labels":{"a":"b"},"input":{"x":1},"due_at":"2100-01-01T00:00:00Z"}
{"kind":"elsewhere","id":"parked","disposition":"external","authority":"billing"}
{"kind":"noop","id":"later","delay":"1h"}
`
	if r := c.feed(batch, "start", "--batch", "-"); r != (result{"all\nparked\nlater\n", "", 0}) {
		t.Fatalf("%+v", r)
	}
	p := c.process("all")
	got := fmt.Sprintln(p.Queue, p.Priority, p.Disposition, p.MaxAttempts, p.Backoff, p.AttemptTimeout, p.Deadline, p.Labels, string(p.Input), p.DueAt)
	if got != `q 3 owner-bound 4 3s 5s 24h0m0s map[a:b] {"x":1} 2100-01-01 00:00:00 +0000 UTC`+"\n" {
		t.Errorf("it is %s", got)
	}
	if p := c.process("parked"); p.Status != "parked" || p.Authority != "billing" {
		t.Errorf("it is %s, and %q ends it", p.Status, p.Authority)
	}
	if p := c.process("later"); p.Status != "scheduled" {
		t.Errorf("it is %s", p.Status)
	}
	for line, says := range map[string]string{
		`{"kind":"noop","id":""}`:                                             "an id is not empty",
		`{"kind":"noop","delay":"1h","due_at":"2100-01-01T00:00:00Z"}`:        "it must be one of them",
		`{"kind":"noop","disposition":"external","delay":"1h"}`:               "can't be delayed",
		`{"kind":"noop","labels":{"a b":"c"}}`:                                `label "a b"`,
		`{"kind":"noop","deadline":"-1s"}`:                                    "negative",
		`{"kind":"noop","deadline":5}`:                                        "deadline can't be a number",
		`{"kind":"noop","max_attempts":"many"}`:                               "max_attempts can't be a string",
		`["noop"]`:                                                            "must be an object",
		`{"kind":"sleep","input":{"duration":"soon"}}`:                        "duration",
		`{"kind":"noop","status":"completed"}`:                                `unknown field "status"`,
		`{"kind":"noop","priority":4}`:                                        "priority 4",
		`{"kind":"noop","attempt_timeout":"a while"}`:                         "not a duration",
		`{"kind":"noop","id":"` + strings.Repeat("x", 256) + `"}`:             "256 bytes",
		`{"kind":"noop","labels":{"a":"` + strings.Repeat("x", 256) + `"}}`:   "255 bytes",
		`{"kind":"elsewhere","disposition":"rerunnable","authority":"third"}`: "authority",
	} {
		r := c.feed(`{"kind":"noop","id":"first"}`+"\n"+line, "start", "--batch", "-")
		if r.code != 2 || r.out != "" || !strings.Contains(r.errs, "line 2: ") || !strings.Contains(r.errs, says) || !strings.Contains(r.errs, "nothing was started") {
			t.Errorf("%.60s: exit code %d, %q, %q; want 2, line 2 and %q", line, r.code, r.out, r.errs, says)
		}
		oneLine(t, r.errs)
	}
	if r := c.do("get", "first"); r.code != 3 {
		t.Errorf("it was started all the same: %s", r.out)
	}
}

func TestABatchGoesOnAfterAConflict(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "taken", "--queue", "nobodys")
	var batch strings.Builder
	var want strings.Builder
	for i := range 2500 { // more than is sent at once
		id := fmt.Sprintf("p%04d", i)
		if i == 1500 || i == 1600 {
			id = "taken"
		} else {
			fmt.Fprintln(&want, id)
		}
		fmt.Fprintf(&batch, `{"kind":"noop","id":%q,"queue":"nobodys","priority":0}`+"\n", id)
	}
	r := c.feed(batch.String(), "start", "--batch", "-")
	if r.code != 4 || r.out != want.String() || !strings.Contains(r.errs, "line 1501 of the batch: ") || !strings.Contains(r.errs, "2498 of 2500 were started") {
		t.Errorf("exit code %d, %d ids, %q", r.code, strings.Count(r.out, "\n"), r.errs)
	}
	oneLine(t, r.errs)
	// Again, as after a crash half-way: it is the same processes.
	if again := c.feed(batch.String(), "start", "--batch", "-"); again != r {
		t.Errorf("again: exit code %d, %d ids, %q", again.code, strings.Count(again.out, "\n"), again.errs)
	}
	// Waiting is for those that were started.
	r = c.feed(`{"kind":"noop","id":"taken"}`+"\n"+`{"kind":"noop","id":"fine"}`, "start", "--batch", "-", "--wait")
	if r.code != 4 || r.out != "fine\n" || c.status("fine") != "completed" {
		t.Errorf("--wait: exit code %d, %q, %q", r.code, r.out, r.errs)
	}
}

func TestAnExternalProcessIsAbandonedWithEvidence(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "elsewhere", "--disposition", "external", "--id", "x")
	if s := c.status("x"); s != "parked" {
		t.Errorf("it is %s, want it parked", s)
	}
	if r := c.do("cancel", "x"); r != (result{"x requested\n", "", 0}) {
		t.Errorf("cancel: %+v", r)
	}
	if o := c.object("abandon", "x", "--reason", "the supplier is bankrupt"); len(o) != 2 || o["id"] != "x" || o["abandon"] != "abandoned" {
		t.Errorf("abandon printed %v", o)
	}
	o := c.object("get", "x")
	evidence, _ := o["evidence"].(map[string]any)
	if o["status"] != "abandoned" || evidence["what"] != "abandon request" || evidence["reason"] != "the supplier is bankrupt" || evidence["by"] == "" || evidence["at"] == "" {
		t.Errorf("it is %v with the evidence %v", o["status"], evidence)
	}
	if r := c.do("abandon", "x", "--reason", "again"); r.code != 4 || !strings.Contains(r.errs, "has ended") {
		t.Errorf("again: %+v", r)
	}
}

func TestAbandon(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "sleep", "--id", "runs", "--input", `{"duration":"1h"}`, "--disposition", "owner-bound")
	c.reaches("runs", "running")
	if r := c.do("abandon", "runs", "--reason", "no idea"); r != (result{"runs requested\n", "", 0}) {
		t.Errorf("one that runs: %+v", r)
	}
	c.reaches("runs", "abandoned")
	if p := c.process("runs"); p.Evidence == nil || p.Evidence.What != "abandon request" || p.Evidence.Reason != "no idea" {
		t.Errorf("its evidence is %+v", p.Evidence)
	}
	c.must("start", "noop", "--queue", "nobodys", "--id", "waits")
	for args, want := range map[string]result{
		"waits --reason r":         {code: 4, errs: "can be cancelled"},
		"nothing --reason r":       {code: 3, errs: "no such process"},
		"waits":                    {code: 2, errs: "--reason is required"},
		"waits nothing --reason r": {code: 2, errs: "takes one ID, and nothing is another"},
		"":                         {code: 2, errs: "needs the ID"},
	} {
		r := c.do(append([]string{"abandon"}, strings.Fields(args)...)...)
		if r.code != want.code || r.out != "" || !strings.Contains(r.errs, want.errs) {
			t.Errorf("abandon %s: %+v, want %+v", args, r, want)
		}
		oneLine(t, r.errs)
	}
	if r := c.do("abandon", "waits", "--reason", " "); r.code != 2 {
		t.Errorf("a blank reason: exit code %d, want 2", r.code)
	}
}

func TestRetryBeginsANewSeries(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	mark := filepath.Join(t.TempDir(), "mark")
	r := c.do("start", "exec", "--id", "x", "--max-attempts", "1", "--wait", "--", "sh", "-c", "test -e "+mark)
	if r.code != 1 {
		t.Fatalf("%+v", r)
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if r := c.do("retry", "x"); r != (result{"x\n", "", 0}) {
		t.Errorf("retry: %+v", r)
	}
	c.must("wait", "x")
	if p := c.process("x"); p.Status != "completed" || p.Series != 2 || p.Attempt != 2 || p.Errors != 0 || len(p.History) != 2 {
		t.Errorf("%s in series %d, attempt %d, with %d errors and a history of %d", p.Status, p.Series, p.Attempt, p.Errors, len(p.History))
	}
	if o := c.object("retry", "x"); len(o) != 1 || o["id"] != "x" {
		t.Errorf("retry of one that completed printed %v", o)
	}
	c.must("wait", "x")
	if o := c.object("retry", "x", "--wait"); o["status"] != "completed" || o["series"] != 4.0 {
		t.Errorf("retry --wait printed %v", o)
	}
	c.must("start", "noop", "--queue", "nobodys", "--id", "waits")
	for args, want := range map[string]result{
		"waits":   {code: 4, errs: "has not ended"},
		"nothing": {code: 3, errs: "no such process"},
		"":        {code: 2, errs: "needs the ID"},
		"x waits": {code: 2, errs: "takes one ID, and waits is another"},
	} {
		r := c.do(append([]string{"retry"}, strings.Fields(args)...)...)
		if r.code != want.code || r.out != "" || !strings.Contains(r.errs, want.errs) {
			t.Errorf("retry %s: %+v, want %+v", args, r, want)
		}
		oneLine(t, r.errs)
	}
}

func TestPruneDeletesWhatEndedLongAgo(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	for _, id := range []string{"a", "b", "c"} {
		c.must("start", "noop", "--id", id, "--wait")
	}
	c.must("start", "noop", "--queue", "nobodys", "--id", "waits")
	c.must("start", "noop", "--queue", "nobodys", "--id", "cancelled")
	c.must("cancel", "cancelled")
	for args, says := range map[string]string{
		"":                                     "--older-than is required",
		"--older-than -1s":                     "--older-than -1s: it must be a time",
		"--older-than long":                    "--older-than",
		"--older-than 1s --status running":     "--status running: each must be completed, failed, cancelled or abandoned",
		"--older-than 1s --status ended":       "--status ended: each must be completed",
		"--older-than 1s a":                    "",
		"--older-than 1s --status completed,x": "--status completed,x: each must be completed",
	} {
		r := c.do(append([]string{"prune"}, strings.Fields(args)...)...)
		if r.code != 2 || r.out != "" || !strings.Contains(r.errs, says) {
			t.Errorf("prune %s: %+v, want 2 and %q", args, r, says)
		}
		oneLine(t, r.errs)
	}
	if r := c.do("prune", "--older-than", "1h"); r != (result{"0\n", "", 0}) {
		t.Errorf("nothing is that old: %+v", r)
	}
	if o := c.object("prune", "--older-than", "0s", "--status", "cancelled,failed"); len(o) != 1 || o["pruned"] != 1.0 {
		t.Errorf("prune --status printed %v", o)
	}
	if got := c.must("list", "-q"); got != "a\nb\nc\nwaits\n" {
		t.Errorf("left are %q", got)
	}
	if r := c.do("prune", "--older-than", "0s"); r != (result{"3\n", "", 0}) {
		t.Errorf("prune: %+v", r)
	}
	if got := c.must("list", "-q"); got != "waits\n" {
		t.Errorf("left are %q", got)
	}
	c.must("start", "noop", "--id", "a", "--priority", "3", "--wait") // the id is free
}

func TestListFiltersByLabels(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "a", "-l", "team=blue", "-l", "env=prod", "--wait")
	c.must("start", "noop", "--id", "b", "-l", "team=blue", "-l", "env=")
	c.must("start", "noop", "--id", "c", "-l", "team=red")
	c.must("start", "noop", "--id", "d")
	for args, want := range map[string]string{
		"-l team=blue":                          "a\nb\n",
		"-l team=blue -l env=prod":              "a\n",
		"--label env=":                          "b\n",
		"-l team=green":                         "",
		"-l team=blue --status completed -l x=": "",
		"-l team=blue --limit 1":                "a\n",
	} {
		if r := c.do(append([]string{"list", "-q"}, strings.Fields(args)...)...); r.code != 0 || r.out != want {
			t.Errorf("list %s: %+v, want %q", args, r, want)
		}
	}
	for _, args := range []string{"-l team", "-l =x", "-l a=1 -l a=2"} {
		r := c.do(append([]string{"list"}, strings.Fields(args)...)...)
		if r.code != 2 || r.out != "" {
			t.Errorf("list %s: %+v, want 2", args, r)
		}
		oneLine(t, r.errs)
	}
	if out := c.must("list", "-o", "json", "--kind", "noop", "-l", "env=prod"); !strings.Contains(out, `"labels":{"env":"prod","team":"blue"}`) {
		t.Errorf("a list shows no labels: %s", out)
	}
}

func TestTextShowsWhatThereIs(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "x", "--disposition", "external", "-l", "b=2", "-l", "a=1", "--deadline", "1h", "--attempt-timeout", "5s", "--input", `{"a  b":1}`)
	c.must("cancel", "x", "--reason", "changed my mind")
	text := c.must("get", "x")
	for _, want := range []string{
		"id:                x\n", "labels:            a=1, b=2\n", "status:            parked\n", "disposition:       external\n",
		"attempt timeout:   5s\n", "deadline:          1h0m0s after it was started\n", "input:             {\"a  b\":1}\n",
		"reason changed my mind\n", "cancel requested:  ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("get lacks %q:\n%s", want, text)
		}
	}
	c.must("abandon", "x", "--reason", "gave up")
	if text := c.must("list", "--full"); !strings.Contains(text, "evidence:         abandon request, by ") || !strings.Contains(text, ", reason gave up\n") {
		t.Errorf("list --full lacks the evidence:\n%s", text)
	}
	if text := c.must("list"); !strings.HasPrefix(text, "ID  KIND  QUEUE    STATUS     ATTEMPT  CREATED\nx   noop  default  abandoned  0        2") {
		t.Errorf("list:\n%s", text)
	}
}

func TestGetFollowsAProcessToItsEnd(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "x", "--queue", "nobodys", "--disposition", "external")
	p := launch(t, "--endpoints", c.endpoint, "get", "x", "-w", "-o", "json")
	p.says(`"status":"parked"`)
	c.must("cancel", "x")
	p.says(`"cancel_requested"`)
	c.must("abandon", "x", "--reason", "r")
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	var seen []string
	for line := range strings.Lines(p.output.String()) {
		var process registry.Process
		if err := json.Unmarshal([]byte(line), &process); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		seen = append(seen, fmt.Sprintf("%s %t", process.Status, process.CancelRequested != nil))
	}
	if want := []string{"parked false", "parked true", "abandoned false"}; !slices.Equal(seen, want) {
		t.Errorf("it showed %q, want %q", seen, want)
	}
	if out := c.must("get", "x", "-w"); strings.Count(out, "status:") != 1 {
		t.Errorf("of one that has ended it showed:\n%s", out)
	}
	if r := c.do("get", "nothing", "-w"); r.code != 3 || r.out != "" {
		t.Errorf("%+v, want 3", r)
	}
}

func TestListFollowsWhatPassesItsFilter(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "old", "--queue", "nobodys", "-l", "a=b")
	p := launch(t, "--endpoints", c.endpoint, "list", "-w", "-q", "-l", "a=b", "--status", "pending,cancelled")
	p.says("old\n")
	c.must("start", "noop", "--id", "unlabelled", "--queue", "nobodys")
	c.must("start", "noop", "--id", "another", "--queue", "nobodys", "-l", "a=c")
	c.must("start", "noop", "--id", "delayed", "--delay", "1h", "-l", "a=b")
	c.must("start", "noop", "--id", "new", "--queue", "nobodys", "-l", "a=b")
	p.says("new\n")
	c.must("cancel", "old")
	eventually(t, "the cancelled one", func() bool { return p.output.String() == "old\nnew\nold\n" })
	p.signal(syscall.SIGINT)
	if code := p.exitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	if got := p.output.String(); got != "old\nnew\nold\n" {
		t.Errorf("it printed %q", got)
	}
}

// change is what one line of drover watch -o json says.
type change struct {
	ID, Status       string
	Revision, Cursor int64
}

func changes(t *testing.T, output string) (all []change) {
	t.Helper()
	for line := range strings.Lines(output) {
		var one change
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, one)
	}
	return all
}

func TestWatchGoesOnAfterACursor(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	p := launch(t, "--endpoints", c.endpoint, "watch", "a", "unborn", "--after", "1", "-o", "json")
	c.must("start", "noop", "--id", "a", "--wait")
	c.must("start", "noop", "--id", "other", "--wait")
	c.must("start", "noop", "--id", "unborn", "--wait")
	p.says(`"id":"unborn","kind":"noop","queue":"default","priority":1,"disposition":"rerunnable","status":"completed"`)
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(); code != 143 {
		t.Errorf("exit code %d, want 143", code)
	}
	var seen []string
	all := changes(t, p.output.String())
	for i, one := range all {
		seen = append(seen, one.ID+" "+one.Status)
		if i > 0 && one.Revision <= all[i-1].Revision || one.Cursor > one.Revision || one.Cursor < 1 {
			t.Errorf("line %d has revision %d and cursor %d", i+1, one.Revision, one.Cursor)
		}
	}
	want := []string{"a pending", "a running", "a completed", "unborn pending", "unborn running", "unborn completed"}
	if !slices.Equal(seen, want) {
		t.Errorf("it told of %q, want %q", seen, want)
	}

	// Text, and only what came after the first end.
	p = launch(t, "--endpoints", c.endpoint, "watch", "--after", fmt.Sprint(all[2].Cursor))
	p.says(" unborn noop completed attempt=1 cursor=")
	if out := p.output.String(); strings.Contains(out, " a noop ") || !strings.Contains(out, " other noop completed ") {
		t.Errorf("after the end of a:\n%s", out)
	}
	p.signal(syscall.SIGINT)
	if code := p.exitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
}

func TestWatchTellsThatItsCursorIsTooOld(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	etcd := c.etcd()
	c.must("start", "noop", "--id", "a", "--wait")
	now, err := etcd.Get(t.Context(), "x")
	if err == nil {
		_, err = etcd.Compact(t.Context(), now.Header.Revision)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := c.do("watch", "--after", "1")
	oldest := fmt.Sprint(now.Header.Revision)
	if r.code != 1 || r.out != "" || !strings.Contains(r.errs, "go on with --after "+oldest) {
		t.Errorf("%+v, want 1 and the cursor %s to go on with", r, oldest)
	}
	oneLine(t, r.errs)
	p := launch(t, "--endpoints", c.endpoint, "watch", "--after", oldest, "-o", "json")
	c.must("start", "noop", "--id", "b")
	p.says(`"id":"b"`)

	for args, says := range map[string]string{
		"--after 0":       "--after 0",
		"--after -1":      "--after -1",
		"--after x":       "--after",
		"--after 1000000": "after revision 1000000",
	} {
		r := c.do(append([]string{"watch"}, strings.Fields(args)...)...)
		if r.code != 2 || r.out != "" || !strings.Contains(r.errs, says) {
			t.Errorf("watch %s: %+v, want 2 and %q", args, r, says)
		}
		oneLine(t, r.errs)
	}
}

func TestWatchBeginsWithWhatComes(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "before", "--wait")
	p := launch(t, "--endpoints", c.endpoint, "watch")
	n := 0
	eventually(t, "a change", func() bool { // nothing says when it begins
		n++
		c.must("start", "noop", "--id", fmt.Sprint("new", n))
		return strings.Contains(p.output.String(), " noop pending ")
	})
	if strings.Contains(p.output.String(), "before") {
		t.Errorf("it tells of the past:\n%s", p.output.String())
	}
}

func TestOutputThatNobodyReadsEndsTheProgram(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	for i := range 20 {
		c.must("start", "noop", "--id", fmt.Sprint("p", i))
	}
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skipf("a device that is full: %v", err)
	}
	defer func() { _ = full.Close() }() // nothing was kept in it
	for _, args := range []string{"get p0", "get p0 -w", "list", "list -q", "list --full", "list -o json", "watch --after 1", "nodes", "queues", "prune --older-than 1h"} {
		var errs strings.Builder
		cmd := exec.CommandContext(t.Context(), binary, append([]string{"--endpoints", c.endpoint}, strings.Fields(args)...)...)
		cmd.Stdout, cmd.Stderr = full, &errs
		_ = cmd.Run() // the exit code tells
		if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("%s: exit code %d, %q; want 1", args, code, errs.String())
		}
		oneLine(t, errs.String())
	}

	// A reader that goes away, as in drover watch | head -1.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `"$0" --endpoints "$1" watch --after 1 -o json | head -n 1; echo "$?"`, binary, c.endpoint)
	out, err := cmd.CombinedOutput()
	if lines := strings.Split(string(out), "\n"); err != nil || len(lines) != 3 || lines[1] != "0" {
		t.Errorf("%v, %q", err, out)
	}
}

func TestASignalEndsAWatchThatIsStuck(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	input, err := json.Marshal(strings.Repeat("x", 4000))
	if err != nil {
		t.Fatal(err)
	}
	line := `{"kind":"noop","queue":"nobodys","input":` + string(input) + "}\n"
	c.feed(strings.Repeat(line, 60), "start", "--batch", "-") // more than a pipe holds
	read, write, err := os.Pipe()                             // never read
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = read.Close(), write.Close() }() // nothing depends on it
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "--endpoints", c.endpoint, "watch", "--after", "1", "-o", "json")
	cmd.Stdout = write
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the pipe to be full", func() bool {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(write.Fd()), Events: unix.POLLOUT}}, 0)
		return n == 0 && err == nil
	})
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code tells
	if code := cmd.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
}

func TestCompletionsKnowTheWords(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]string{
		"list --status":                  "scheduled pending running orphaned parked completed failed cancelled abandoned",
		"list --status running,":         "running,scheduled running,pending running,orphaned running,parked running,completed running,failed running,cancelled running,abandoned",
		"prune --older-than 1h --status": "completed failed cancelled abandoned",
		"list -o":                        "text json",
		"start --disposition":            "rerunnable owner-bound external",
		"start":                          "exec http sleep noop",
	} {
		words := strings.Fields(args)
		if !strings.HasSuffix(args, ",") {
			words = append(words, "")
		}
		out, errs, code := drover(t, "", append([]string{"__complete"}, words...)...)
		var offers []string
		for line := range strings.Lines(out) {
			if !strings.HasPrefix(line, ":") {
				offers = append(offers, strings.TrimSpace(line))
			}
		}
		if got := strings.Join(offers, " "); code != 0 || got != want {
			t.Errorf("%s: exit code %d, offered %q, want %q (%s)", args, code, got, want, errs)
		}
	}
}
