package e2e

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// client is the command line against one etcd.
type client struct {
	t        *testing.T
	endpoint string
}

// result is how one call of the program ended.
type result struct {
	out, errs string
	code      int
}

// do runs a client command. The endpoint comes first: what follows a -- is the command's.
func (c client) do(args ...string) result {
	c.t.Helper()
	return c.feed("", args...)
}

func (c client) feed(stdin string, args ...string) result {
	c.t.Helper()
	out, errs, code := drover(c.t, stdin, append([]string{"--endpoints", c.endpoint}, args...)...)
	return result{out, errs, code}
}

// must is do, for what is not the point of the test.
func (c client) must(args ...string) string {
	c.t.Helper()
	r := c.do(args...)
	if r.code != 0 {
		c.t.Fatalf("drover %s: exit code %d: %s", strings.Join(args, " "), r.code, r.errs)
	}
	return r.out
}

// object is the one JSON object, on one line, that the command prints.
func (c client) object(args ...string) map[string]any {
	c.t.Helper()
	out := c.must(append([]string{"-o", "json"}, args...)...)
	if strings.Count(out, "\n") != 1 || !strings.HasSuffix(out, "\n") {
		c.t.Fatalf("drover %s: want one line, got %q", strings.Join(args, " "), out)
	}
	var object map[string]any
	if err := json.Unmarshal([]byte(out), &object); err != nil {
		c.t.Fatalf("%v in %s", err, out)
	}
	return object
}

func (c client) status(id string) string {
	c.t.Helper()
	status, _ := c.object("get", id)["status"].(string)
	return status
}

func (c client) reaches(id, status string) {
	c.t.Helper()
	eventually(c.t, id+" to be "+status, func() bool { return c.status(id) == status })
}

// server starts a drover serve with an etcd of its own, and returns once it takes work.
func server(t *testing.T, args ...string) (*program, client) {
	t.Helper()
	p := launch(t, append([]string{"serve", "--data-dir", t.TempDir(), "--etcd-listen", "127.0.0.1:0", "-o", "json"}, args...)...)
	return p, client{t, p.readyAt()}
}

// readyAt is the first endpoint of the ready line in JSON.
func (p *program) readyAt() string {
	p.t.Helper()
	p.says(`{"event":"ready"`)
	for line := range bytes.Lines([]byte(p.output.String())) {
		var ready struct {
			Event     string
			Endpoints []string
		}
		if json.Unmarshal(line, &ready) == nil && ready.Event == "ready" && len(ready.Endpoints) > 0 {
			return ready.Endpoints[0]
		}
	}
	p.t.Fatalf("the ready line names no endpoint:\n%s", p.output.String())
	return ""
}

// oneLine fails unless an error message is one line that a person can read.
func oneLine(t *testing.T, errs string) {
	t.Helper()
	if !strings.HasPrefix(errs, "drover: ") || strings.Count(errs, "\n") != 1 {
		t.Errorf("want one line that begins with drover:, got %q", errs)
	}
	for _, jargon := range []string{"rpc error", "code =", "goroutine", "context deadline", "etcdserver:"} {
		if strings.Contains(errs, jargon) {
			t.Errorf("%q has %q, which means nothing to a person", errs, jargon)
		}
	}
}
