package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/drover-run/drover/registry"
)

// That nobody knows an id is told at once, also beside one that may never end.
func TestWaitTellsOfAnUnknownIDBeforeItWaits(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "nobodys-kind", "--id", "open", "--disposition", "rerunnable")
	for _, ids := range [][]string{{"open", "nope"}, {"nope", "open"}} {
		p := launch(t, append([]string{"wait", "--endpoints", c.endpoint}, ids...)...)
		p.says("nope: no such process")
	}
	if r := c.do("wait", "nope"); r.code != 3 {
		t.Errorf("exit code %d, %q", r.code, r.errs)
	}
}

func TestCommandThatFinishesInSpiteOfARequestCompletes(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--allow", "exec")
	stubborn := []string{"--", "sh", "-c", `trap "" TERM; echo on; sleep 2; echo done`}
	c.must(append([]string{"start", "exec", "--id", "cancelled"}, stubborn...)...)
	c.must(append([]string{"start", "exec", "--id", "late", "--deadline", "1s"}, stubborn...)...)
	c.must(append([]string{"start", "exec", "--id", "slow", "--attempt-timeout", "1s", "--max-attempts", "1"}, stubborn...)...)
	eventually(t, "the command to ignore signals", func() bool {
		return strings.Contains(c.must("logs", "cancelled"), "on")
	})
	if r := c.do("cancel", "cancelled", "--wait"); r.code != 1 || !strings.Contains(r.errs, "completed") {
		t.Errorf("cancel: exit code %d, %q; want it told who won", r.code, r.errs)
	}
	for _, id := range []string{"cancelled", "late", "slow"} {
		c.do("wait", id)
		if p := c.process(id); p.Status != registry.StatusCompleted || !strings.Contains(string(p.Output), "done") {
			t.Errorf("%s %s: %s, %s", id, p.Status, p.Error, p.Output)
		}
	}
}

func TestRunPrintsTheProcessInJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 2 { // it runs, and is there already
		out, errs, code := drover(t, "", "run", "-o", "json", "--data-dir", dir, "--id", "x", "--", "sh", "-c", "echo hi; exit 3")
		var p registry.Process
		if err := json.Unmarshal([]byte(out), &p); err != nil || strings.Count(out, "\n") != 1 || p.ID != "x" || code != 3 {
			t.Errorf("exit code %d, %v, printed %q and %q", code, err, out, errs)
		}
	}
}
