package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/drover-run/drover/registry"
)

func pid(p *program) string { return strconv.Itoa(p.cmd.Process.Pid) }

func TestServeSaysWhenItIsReady(t *testing.T) {
	t.Parallel()
	p := launch(t, "serve", "--data-dir", t.TempDir(), "--node", "n1", "--etcd-listen", "127.0.0.1:0")
	p.says("ready node=n1 endpoints=http://127.0.0.1:")
	_, c := server(t, "--node", "n2")
	if got := c.object("nodes")["name"]; got != "n2" {
		t.Errorf("the endpoint of the ready line leads to %v", got)
	}
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestServeLetsAttemptsFinish(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p, _ := nodeWith(t, dir, `echo begun; while [ ! -e "$GO" ]; do sleep 0.05; done`)
	p.signal(syscall.SIGTERM)
	p.says("stopping")
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := afterwards(t, dir); got.Status != registry.StatusCompleted || got.Attempt != 1 {
		t.Errorf("%s in attempt %d, want completed in the first", got.Status, got.Attempt)
	}
}

func TestServeHandsBackWhatDoesNotFinish(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		patience string
		again    bool
	}{"when its patience ends": {"100ms", false}, "at a second signal": {"1h", true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			p, _ := nodeWith(t, dir, `trap "" TERM; while [ ! -e "$GO" ]; do sleep 1000; done`, "--shutdown-timeout", tt.patience)
			p.signal(syscall.SIGTERM)
			if tt.again {
				p.says("stopping")
				p.signal(syscall.SIGTERM)
			}
			if code := p.exitCode(); code != 0 {
				t.Errorf("exit code %d, want 0", code)
			}
			if s := survivors(t, "GO="+filepath.Join(dir, "go")); len(s) != 0 {
				t.Errorf("left running: %q", s)
			}
			if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			got := afterwards(t, dir)
			if got.Status != registry.StatusCompleted || got.Attempt != 2 || got.Errors != 0 || got.Adoptions != 0 {
				t.Errorf("%+v, want it handed back and completed", got)
			}
		})
	}
}

// nodeWith is a node with an etcd in dir on which a script runs. GO is a file there, for the script to look for.
func nodeWith(t *testing.T, dir, script string, args ...string) (*program, client) {
	t.Helper()
	p := launch(t, append([]string{"serve", "--data-dir", filepath.Join(dir, "data"), "--allow", "exec", "--etcd-listen", "127.0.0.1:0", "-o", "json"}, args...)...)
	c := client{t, p.readyAt()}
	c.must("start", "exec", "--id", "it", "--env", "GO="+filepath.Join(dir, "go"), "--", "sh", "-c", script)
	eventually(t, "the script to run", func() bool { return len(survivors(t, "GO="+filepath.Join(dir, "go"))) > 0 })
	return p, c
}

// afterwards lets another node finish what is in dir.
func afterwards(t *testing.T, dir string) registry.Process {
	t.Helper()
	p := launch(t, "serve", "--data-dir", filepath.Join(dir, "data"), "--allow", "exec", "--etcd-listen", "127.0.0.1:0", "-o", "json")
	return processes(t, "wait", "it", "--timeout", "30s", "--endpoints", p.readyAt())[0]
}

func TestServeStopsWhileItStarts(t *testing.T) {
	t.Parallel()
	// An etcd that never answers: the start hangs for as long as the request may.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	connected := make(chan struct{})
	go func() {
		defer close(connected)
		_, _ = l.Accept() // ends with the listener
	}()
	p := launch(t, "serve", "--endpoints", l.Addr().String(), "--request-timeout", "1h")
	<-connected
	p.signal(syscall.SIGTERM)
	if code := p.exitCode(); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
}

func TestServeSaysWhyItCannotStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args string
		code int
		says string
	}{
		{"--etcd-listen " + l.Addr().String(), 1, l.Addr().String() + " is taken by another program: use --etcd-listen 127.0.0.1:0"},
		{"--data-dir " + file, 1, file},
		{"--allow frob", 2, "--allow frob: each must be exec or http"},
		{"--allow exec --witness=false", 2, "--witness=false does not go with --allow exec"},
		{"--max-running 0", 2, "--max-running 0"},
		{"--node a/b", 2, "--node a/b"},
		{"--ttl 0s", 2, "--ttl"},
		{"extra", 2, "extra"},
	} {
		_, errs, code := drover(t, "", append([]string{"serve", "--data-dir", filepath.Join(dir, "data")}, strings.Fields(tt.args)...)...)
		if code != tt.code || !strings.Contains(errs, tt.says) {
			t.Errorf("serve %s: exit code %d, want %d; %q", tt.args, code, tt.code, errs)
		}
		oneLine(t, errs)
	}
}
