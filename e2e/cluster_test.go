package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// objects are the JSON objects that the command prints, one a line, whatever its exit code.
func objects(t *testing.T, out string) (all []map[string]any) {
	t.Helper()
	for line := range strings.Lines(out) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		all = append(all, object)
	}
	return all
}

// etcd is a client of the etcd that c talks to.
func (c client) etcd() *clientv3.Client {
	c.t.Helper()
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{c.endpoint}})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = etcd.Close() }) // nothing depends on it
	return etcd
}

func TestQueues(t *testing.T) {
	t.Parallel()
	_, c := server(t, "--queues", "default,served")
	c.must("start", "sleep", "--id", "runs", "--input", `{"duration":"1h"}`, "--queue", "served")
	c.reaches("runs", "running")
	c.must("start", "noop", "--queue", "nobodys")
	c.must("start", "noop", "--queue", "nobodys")
	c.must("start", "noop", "--queue", "nobodys", "--delay", "1h")
	c.must("pause", "empty")
	var got []string
	for _, q := range objects(t, c.must("queues", "-o", "json")) {
		oldest, ok := q["oldest_pending_seconds"].(float64)
		if !ok || (oldest > 0) != (q["pending"] != 0.0) || len(q) != 6 {
			t.Errorf("a queue is %v", q)
		}
		got = append(got, fmt.Sprint(q["name"], " ", q["pending"], " ", q["scheduled"], " ", q["running"], " ", q["paused"]))
	}
	want := "default 0 0 0 false\nempty 0 0 0 true\nnobodys 2 1 0 false\nserved 0 0 1 false"
	if strings.Join(got, "\n") != want {
		t.Errorf("the queues are %q, want %q", got, want)
	}
	text := c.must("queues")
	if !strings.HasPrefix(text, "NAME     PENDING  SCHEDULED  RUNNING  OLDEST  PAUSED\ndefault  0        0          0        -       no\nempty    0        0          0        -       yes\n") {
		t.Errorf("queues printed\n%s", text)
	}
}

func TestPauseAndResume(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	for range 2 { // the second changes nothing
		if r := c.do("pause", "default"); r != (result{}) {
			t.Errorf("pause: %+v", r)
		}
	}
	c.must("start", "noop", "--id", "x")
	if r := c.do("wait", "x", "--timeout", "1s"); r.code != 6 || c.status("x") != "pending" {
		t.Errorf("a paused queue: exit code %d, and it is %s", r.code, c.status("x"))
	}
	for range 2 {
		if r := c.do("resume", "default", "-o", "json"); r != (result{}) {
			t.Errorf("resume: %+v", r)
		}
	}
	c.must("wait", "x")
	for _, args := range []string{"pause", "resume", "pause a b", "resume a b", "pause a/b", "resume a/b"} {
		r := c.do(strings.Fields(args)...)
		if r.code != 2 || r.out != "" {
			t.Errorf("%s: %+v, want 2", args, r)
		}
		oneLine(t, r.errs)
	}
}

func TestDoctor(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "fine", "--wait")
	c.must("start", "noop", "--id", "lost", "--queue", "nobodys")
	if r := c.do("doctor"); r != (result{}) {
		t.Errorf("all is well, and it says %+v", r)
	}
	etcd := c.etcd()
	if _, err := etcd.Delete(t.Context(), "/drover/v1/pending/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	r := c.do("doctor")
	if r.code != 1 || r.out != "/drover/v1/process/lost: a process without a place (can be repaired)\n" || !strings.Contains(r.errs, "`drover doctor --repair` repairs 1") {
		t.Errorf("doctor: %+v", r)
	}
	oneLine(t, r.errs)
	if _, err := etcd.Put(t.Context(), "/drover/v1/process/bad", "{"); err != nil {
		t.Fatal(err)
	}
	r = c.do("doctor", "--repair", "-o", "json")
	found := objects(t, r.out)
	if r.code != 1 || len(found) != 2 || found[0]["key"] != "/drover/v1/process/bad" || found[0]["repaired"] == true || found[0]["advice"] == "" || found[1]["id"] != "lost" || found[1]["repaired"] != true {
		t.Errorf("doctor --repair: %+v", r)
	}
	oneLine(t, r.errs)
	if s := c.status("lost"); s != "pending" {
		t.Errorf("the repaired one is %s", s)
	}
	if _, err := etcd.Delete(t.Context(), "/drover/v1/process/bad"); err != nil {
		t.Fatal(err)
	}
	if r := c.do("doctor"); r != (result{}) {
		t.Errorf("all is well again, and it says %+v", r)
	}
	if _, err := etcd.Delete(t.Context(), "/drover/v1/pending/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	if r := c.do("doctor", "--repair"); r != (result{"/drover/v1/process/lost: a process without a place (repaired)\n", "", 0}) {
		t.Errorf("what can be repaired is: %+v", r)
	}
	if r := c.do("doctor", "now"); r.code != 2 {
		t.Errorf("%+v, want 2", r)
	}
}

func TestStatusOfAHealthyCluster(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := launch(t, "serve", "--data-dir", dir, "--etcd-listen", "127.0.0.1:0", "-o", "json", "--node", "n1")
	c := client{t, p.readyAt()}
	c.must("start", "noop", "--wait")
	o := c.object("status")
	members, _ := o["members"].([]any)
	member, _ := members[0].(map[string]any)
	if o["healthy"] != true || o["reachable"] != true || o["problems"] != nil || len(members) != 1 || o["leader"] != member["name"] {
		t.Errorf("status printed %v", o)
	}
	inUse, size, quota := member["db_in_use"].(float64), member["db_size"].(float64), member["db_quota"].(float64)
	if inUse <= 0 || inUse > size || size >= quota {
		t.Errorf("%g bytes in use of %g, the quota is %g", inUse, size, quota)
	}
	nodes, _ := o["nodes"].([]any)
	queues, _ := o["queues"].([]any)
	if len(nodes) != 1 || nodes[0].(map[string]any)["name"] != "n1" || len(queues) != 1 || queues[0].(map[string]any)["oldest_pending_seconds"] != 0.0 {
		t.Errorf("the nodes are %v, the queues %v", nodes, queues)
	}
	// By the data directory as well, where one etcd has two endpoints.
	text, errs, code := drover(t, "", "status", "--data-dir", dir)
	if code != 0 || errs != "" || strings.Count(text, "8.0 GiB") != 1 {
		t.Errorf("exit code %d, %q:\n%s", code, errs, text)
	}
	for _, want := range []string{"etcd:    answers\n", "alarms:  none\n", "\nn1  ", "\ndefault  ", "\nno orphans\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("status lacks %q:\n%s", want, text)
		}
	}
}

func TestStatusNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "x", "--queue", "nobodys")
	unwell := func(says string) {
		t.Helper()
		r := c.do("status", "-o", "json")
		if r.code != 1 || !strings.Contains(r.errs, says) || strings.Count(r.out, "\n") != 1 || !strings.Contains(r.out, `"healthy":false`) {
			t.Errorf("%+v, want 1 and %q", r, says)
		}
		oneLine(t, r.errs)
		if r := c.do("status"); r.code != 1 || !strings.Contains(r.errs, says) || !strings.Contains(r.out, "etcd:") {
			t.Errorf("%+v, want 1 and %q", r, says)
		}
	}
	unwell("the queue nobodys, which no node serves")
	c.must("cancel", "x")
	if r := c.do("status"); r.code != 0 || r.errs != "" {
		t.Errorf("all is well: %+v", r)
	}
	etcd := c.etcd()
	alarm := &etcdserverpb.AlarmRequest{Action: etcdserverpb.AlarmRequest_ACTIVATE, Alarm: etcdserverpb.AlarmType_NOSPACE}
	if _, err := etcdserverpb.NewMaintenanceClient(etcd.ActiveConnection()).Alarm(t.Context(), alarm); err != nil {
		t.Fatal(err)
	}
	unwell("etcd is out of space and refuses writes")
	r := c.do("start", "noop", "--request-timeout", "500ms")
	if r.code != 1 || !strings.Contains(r.errs, "out of space") {
		t.Errorf("start without space: %+v", r)
	}
	oneLine(t, r.errs)
	r = c.do("pause", "default", "--request-timeout", "500ms")
	if r.code != 1 || !strings.Contains(r.errs, "out of space") {
		t.Errorf("pause without space: %+v", r)
	}
}

// A frozen node is not dead: what it was doing is nobody's to say.
func TestAnOrphanStaysUntilItIsAbandoned(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	frozen := launch(t, "serve", "--endpoints", c.endpoint, "--node", "frozen", "--queues", "q", "--ttl", "2s")
	frozen.says("ready node=frozen")
	c.must("start", "sleep", "--id", "x", "--queue", "q", "--disposition", "owner-bound", "--input", `{"duration":"1h"}`)
	c.reaches("x", "running")
	frozen.signal(syscall.SIGSTOP)
	c.reaches("x", "orphaned")
	if p := c.process("x"); p.Claim == nil || p.Claim.Node != "frozen" {
		t.Errorf("its claim is %+v", p.Claim)
	}
	r := c.do("status")
	if r.code != 1 || !strings.Contains(r.errs, "node frozen") || !strings.Contains(r.out, "LEFT BY") {
		t.Errorf("status: %+v", r)
	}
	if got := c.must("list", "-q", "--status", "orphaned"); got != "x\n" {
		t.Errorf("the orphans are %q", got)
	}
	if r := c.do("abandon", "x", "--reason", "its machine hangs"); r != (result{"x abandoned\n", "", 0}) {
		t.Errorf("abandon: %+v", r)
	}
	p := c.process("x")
	if p.Status != "abandoned" || p.Evidence == nil || p.Evidence.Reason != "its machine hangs" || len(p.History) != 1 || p.History[0].Error != "session lost" {
		t.Errorf("it is %s with evidence %+v and history %+v", p.Status, p.Evidence, p.History)
	}
	if r := c.do("wait", "x"); r.code != 1 || !strings.Contains(r.errs, "its machine hangs") {
		t.Errorf("wait: %+v", r)
	}
}

func TestRowsThatCantBeReadDontHideOthers(t *testing.T) {
	t.Parallel()
	_, c := server(t)
	c.must("start", "noop", "--id", "a", "--wait")
	c.must("start", "noop", "--id", "c", "--wait")
	if _, err := c.etcd().Put(t.Context(), "/drover/v1/process/b", `{"schema":1,"id":"other"}`); err != nil {
		t.Fatal(err)
	}
	r := c.do("list", "-q")
	if r.code != 0 || r.out != "a\nc\n" || !strings.Contains(r.errs, "/drover/v1/process/b") {
		t.Errorf("list: %+v", r)
	}
	for _, args := range []string{"get b", "wait b --timeout 1s", "cancel b", "retry b", "abandon b --reason r"} {
		r := c.do(strings.Fields(args)...)
		if r.code != 1 || !strings.Contains(r.errs, "/drover/v1/process/b") || bytes.ContainsRune([]byte(r.out), '{') {
			t.Errorf("%s: %+v, want 1 and the key", args, r)
		}
		oneLine(t, r.errs)
	}
}
