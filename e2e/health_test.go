package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/supervisor"
)

// doctorly asks a node how it is.
type doctorly struct {
	t      *testing.T
	at     string
	client http.Client
}

var servedAt = regexp.MustCompile(`health is served\s+\{"http": "([^"]+)"`)

// asks finds out where a program tells how it is.
func asks(t *testing.T, p *program) *doctorly {
	t.Helper()
	var at []string
	eventually(t, "health to be served", func() bool {
		at = servedAt.FindStringSubmatch(p.output.String())
		return at != nil
	})
	d := &doctorly{t: t, at: "http://" + at[1], client: http.Client{Timeout: 10 * time.Second}}
	t.Cleanup(d.client.CloseIdleConnections)
	return d
}

// get asks once; the status is 0 when nobody answers.
func (d *doctorly) get(path string) (status int, h supervisor.Health) {
	d.t.Helper()
	resp, err := d.client.Get(d.at + path)
	if err != nil {
		return 0, h
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	if strings.Count(string(body), "\n") != 1 || !strings.HasSuffix(string(body), "\n") {
		d.t.Errorf("%s is not one line: %q", path, body)
	}
	if err := json.Unmarshal(body, &h); err != nil {
		d.t.Fatalf("%v in %s", err, body)
	}
	return resp.StatusCode, h
}

// well waits until the node is healthy and ready.
func (d *doctorly) well() {
	d.t.Helper()
	var h supervisor.Health
	defer func() {
		if d.t.Failed() {
			d.t.Logf("at last: %+v", h)
		}
	}()
	eventually(d.t, "the node to be healthy and ready", func() bool {
		var healthy int
		healthy, h = d.get("/healthz")
		ready, _ := d.get("/readyz")
		return healthy == 200 && h.Healthy && len(h.Problems) == 0 && ready == 200 && h.Ready
	})
}

// ill waits until a problem says this.
func (d *doctorly) ill(says string) supervisor.Health {
	d.t.Helper()
	var h supervisor.Health
	defer func() {
		if d.t.Failed() {
			d.t.Logf("at last: %+v", h)
		}
	}()
	eventually(d.t, "the node to say: "+says, func() bool {
		var status int
		status, h = d.get("/healthz")
		return status == 503 && !h.Healthy && strings.Contains(strings.Join(h.Problems, "\n"), says)
	})
	return h
}

func TestServeTellsHowTheNodeIs(t *testing.T) {
	t.Parallel()
	etcd := etcdtest.New(t)
	c := client{t, etcd.Endpoint()}
	p := launch(t, "serve", "--endpoints", c.endpoint, "--node", "n1", "--ttl", "2s", "--http", "127.0.0.1:0")
	node := asks(t, p)
	p.says("ready node=n1 ")
	node.well()
	_, h := node.get("/healthz")
	if h.Node != "n1" || h.Session.ID == "" || h.Session.LeftSeconds <= 0 || h.Session.RenewedAt.IsZero() || h.Max != 64 {
		t.Errorf("health %+v", h)
	}
	etcd.Stop()
	node.ill("there is no session since ")
	if status, h := node.get("/readyz"); status != 503 || h.Ready || h.Session.ID != "" || !strings.Contains(h.Session.Why, "etcd does not answer") {
		t.Errorf("without etcd /readyz is %d: %+v", status, h)
	}
	etcd.Restart()
	node.well()
	c.must("start", "noop", "--id", "x", "--wait")

	for path, want := range map[string]int{"/": 404, "/metrics": 404} {
		resp, err := node.client.Get(node.at + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s is %d, want %d", path, resp.StatusCode, want)
		}
	}
	resp, err := node.client.Post(node.at+"/healthz", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != 405 {
		t.Errorf("POST is %d, want 405", resp.StatusCode)
	}

	// While it lets an attempt finish it is alive, and not ready.
	c.must("start", "sleep", "--id", "long", "--input", `{"duration":"1h"}`)
	c.reaches("long", "running")
	p.signal(syscall.SIGTERM)
	eventually(t, "the node not to be ready any more", func() bool {
		status, h := node.get("/readyz")
		return status == 503 && h.Stopping
	})
	if status, h := node.get("/healthz"); status != 200 || h.Running != 1 {
		t.Errorf("while it stops /healthz is %d: %+v", status, h)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if status, _ := node.get("/healthz"); status != 0 {
		t.Errorf("after its end /healthz is %d", status)
	}
}

func TestServeSaysWhyItCantTellHowTheNodeIs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, tt := range []struct {
		addr string
		code int
		says string
	}{
		{l.Addr().String(), 1, l.Addr().String() + " is taken by another program: use --http 127.0.0.1:0 for a free port"},
		{"8080", 2, "--http 8080: it must be HOST:PORT"},
		{"127.0.0.1:", 2, "--http 127.0.0.1:: it must be HOST:PORT"},
		{"127.0.0.1:http-or-so", 2, "--http 127.0.0.1:http-or-so"},
	} {
		_, errs, code := drover(t, "", "serve", "--data-dir", t.TempDir(), "--etcd-listen", "127.0.0.1:0", "--http", tt.addr)
		if code != tt.code || !strings.Contains(errs, tt.says) {
			t.Errorf("--http %s: exit code %d, want %d; %q", tt.addr, code, tt.code, errs)
		}
		oneLine(t, errs)
	}
}
