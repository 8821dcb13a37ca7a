package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// gate makes a command wait for a file.
func gate(t *testing.T) (wait func(name string) string, open func(name string)) {
	t.Helper()
	dir := t.TempDir()
	wait = func(name string) string {
		return `while [ ! -e "` + filepath.Join(dir, name) + `" ]; do sleep 0.02; done; `
	}
	open = func(name string) {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return wait, open
}

func TestLogsShowTheTailOfARunningCommand(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	wait, open := gate(t)
	c.must("start", "exec", "--id", "e", "--", "sh", "-c", `printf %05000d 7; echo err >&2; `+wait("go")+`echo end`)
	tail := strings.Repeat("0", 4095) + "7"
	hint := "drover: 904 bytes of stdout are not shown: the live tail is too short for them\nerr\n"
	eventually(t, "the tail to show", func() bool { return c.do("logs", "e") == result{tail, hint, 0} })

	follower := launch(t, "logs", "-f", "e", "--endpoints", c.endpoint)
	follower.says(tail)
	open("go")
	if code := follower.exitCode(); code != 0 {
		t.Errorf("logs -f: exit code %d", code)
	}
	if got := follower.output.String(); strings.Count(got, "err\n") != 1 || strings.Count(got, "7") != 1 || strings.Count(got, "end\n") != 1 {
		t.Errorf("logs -f printed something twice, or not at all: %q", got)
	}
	if r := c.do("logs", "e"); r.code != 0 || !strings.HasSuffix(r.out, "07end\n") || len(r.out) != 5004 || r.errs != "err\n" {
		t.Errorf("logs of one that ended: exit code %d, %d bytes, %q", r.code, len(r.out), r.errs)
	}
	if r := c.do("logs", "-f", "e", "-o", "json"); r.code != 0 || !strings.HasPrefix(r.out, `{"attempt":1,"stream":"stdout","data":"000`) ||
		!strings.HasSuffix(r.out, "}\n"+`{"attempt":1,"stream":"stderr","data":"err\n"}`+"\n") || r.errs != "" {
		t.Errorf("logs -f -o json: exit code %d, %.100s..., %q", r.code, r.out, r.errs)
	}
}

func TestLogsFollowAllAttempts(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	wait, open := gate(t)
	c.must("start", "exec", "--id", "e", "--backoff", "1ms", "--max-attempts", "3", "--", "sh", "-c",
		`echo "this is $DROVER_ATTEMPT"; `+strings.ReplaceAll(wait("go"), "go", "go$DROVER_ATTEMPT")+`[ $DROVER_ATTEMPT = 3 ]`)
	follower := launch(t, "logs", "-f", "e", "--endpoints", c.endpoint)
	for _, n := range []string{"1", "2", "3"} {
		follower.says("this is " + n + "\n")
		open("go" + n)
	}
	const want = "this is 1\ndrover: attempt 2 (attempt 1: exit status 1)\nthis is 2\ndrover: attempt 3 (attempt 2: exit status 1)\nthis is 3\n"
	if code := follower.exitCode(); code != 0 || follower.output.String() != want {
		t.Errorf("exit code %d, %q, want %q", code, follower.output.String(), want)
	}
	if r := c.do("logs", "e", "--attempt", "3"); r != (result{"this is 3\n", "", 0}) {
		t.Errorf("the last attempt: %+v", r)
	}
	for args, says := range map[string]string{
		"logs e --attempt 2": "there is no log of attempt 2: node ",
		"logs e --attempt 4": "has made no attempt 4: its last is 3",
	} {
		if r := c.do(strings.Fields(args)...); r.code != 1 || r.out != "" || !strings.Contains(r.errs, says) {
			t.Errorf("%s: %+v, want %q", args, r, says)
		} else {
			oneLine(t, r.errs)
		}
	}
}

func TestLogDirKeepsTheWholeStreams(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "logs")
	_, c := server(t, "--node", "n1", "--allow", "exec", "--log-dir", dir)
	wait, open := gate(t)
	c.must("start", "exec", "--id", "../e", "--backoff", "1ms", "--", "sh", "-c",
		`head -c 200000 /dev/zero | tr "\\0" "$DROVER_ATTEMPT"; echo err >&2; `+wait("go")+`[ $DROVER_ATTEMPT = 2 ]`)
	follower := launch(t, "logs", "-f", "../e", "--endpoints", c.endpoint)
	follower.says("err\n")
	progress, _ := c.object("get", "../e")["progress"].(map[string]any)
	place, _ := progress["log"].(map[string]any)
	if place["node"] != "n1" || !strings.HasPrefix(place["stdout"].(string), filepath.Join(dir, "%2E.%2Fe", "1.")) {
		t.Errorf("progress %v does not say where the log is", progress["log"])
	}
	open("go")
	if code := follower.exitCode(); code != 0 {
		t.Errorf("logs -f: exit code %d", code)
	}
	whole := func(n string) string { return strings.Repeat(n, 200_000) }
	said := strings.ReplaceAll(follower.output.String(), "err\n", "")
	if want := whole("1") + "drover: attempt 2 (attempt 1: exit status 1: err)\n" + whole("2"); said != want {
		t.Errorf("logs -f printed %d bytes, want %d: not the whole streams", len(said), len(want))
	}
	for _, n := range []string{"1", "2"} {
		if r := c.do("logs", "../e", "--attempt", n); r.code != 0 || r.out != whole(n) || r.errs != "err\n" {
			t.Errorf("attempt %s: exit code %d, %d bytes, %q", n, r.code, len(r.out), r.errs)
		}
	}
	p := processes(t, "get", "../e", "--endpoints", c.endpoint)[0]
	for _, past := range p.History {
		if info, err := os.Stat(past.Log); err != nil || info.Size() != 200_000 {
			t.Errorf("history %+v does not say where the log is: %v", past, err)
		}
		if err := os.Remove(past.Log); err != nil {
			t.Error(err)
		}
	}
	r := c.do("logs", "../e", "--attempt", "1")
	if r.code != 1 || !strings.Contains(r.errs, "the log of attempt 1 is on node n1, in "+p.History[0].Log) {
		t.Errorf("a log that is elsewhere: %+v", r)
	}
	oneLine(t, r.errs)
}

func TestLogsOfWhatHasNone(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	c.must("start", "noop", "--id", "n", "--wait")
	c.must("start", "exec", "--id", "w", "--queue", "nobodys", "--", "true")
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"logs n", 1, "process n is of kind noop, and only exec has logs"},
		{"logs w", 0, "process w is pending: there is nothing to see of it yet"},
		{"logs w --attempt 1", 1, "process w has made no attempt 1: its last is 0"},
		{"logs w --attempt 0", 2, "--attempt 0: it must be a whole number, 1 or more"},
		{"logs nothing", 3, "no such process"},
		{"logs", 2, ""},
	} {
		r := c.do(strings.Fields(tt.args)...)
		if r.code != tt.code || r.out != "" || !strings.Contains(r.errs, tt.says) {
			t.Errorf("drover %s: %+v, want exit code %d and %q", tt.args, r, tt.code, tt.says)
		}
		oneLine(t, r.errs)
	}
	for _, args := range [][]string{{"--allow", "http", "--log-dir", t.TempDir()}, {"--allow", "exec", "--log-dir", "/dev/null/x"}} {
		out, errs, code := drover(t, "", append([]string{"serve", "--data-dir", t.TempDir()}, args...)...)
		if code == 0 || out != "" || !strings.Contains(errs, "--log-dir") {
			t.Errorf("serve %q: exit code %d, %q", args, code, errs)
		}
		oneLine(t, errs)
	}
}
