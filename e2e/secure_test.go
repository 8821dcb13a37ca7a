package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// secure is an etcd that wants TLS and a password, with its certificate in a file.
func secure(t *testing.T) (endpoint, cert string) {
	t.Helper()
	c := embed.NewConfig()
	c.Dir, c.LogLevel = t.TempDir(), "fatal"
	c.BcryptCost = 4 // the least: each connection asks for the password, and under the race detector that takes seconds else
	anywhere := func(scheme string) []url.URL { return []url.URL{{Scheme: scheme, Host: "127.0.0.1:0"}} }
	c.ListenClientUrls, c.AdvertiseClientUrls, c.ClientAutoTLS = anywhere("https"), anywhere("https"), true
	c.ListenPeerUrls, c.AdvertisePeerUrls = anywhere("http"), anywhere("http")
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	e, err := embed.StartEtcd(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Close)
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("etcd is not ready")
	}
	return "https://" + e.Clients[0].Addr().String(), filepath.Join(c.Dir, "fixtures", "client", "cert.pem")
}

func clientOf(endpoint, cert string) (*clientv3.Client, error) {
	secure, err := transport.TLSInfo{TrustedCAFile: cert}.ClientConfig()
	if err != nil {
		return nil, err
	}
	return clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, TLS: secure})
}

// The witness gets through as the node does, and what it needs for that is nowhere to be read.
func TestNodeAndWitnessWithTLSAndAPassword(t *testing.T) {
	t.Parallel()
	endpoint, cert := secure(t)
	const password = "horse-battery-staple"
	access := []string{"--endpoints", endpoint, "--cacert", cert, "--user", "root"}
	do := func(args ...string) *exec.Cmd {
		cmd := exec.Command(binary, append(access, args...)...)
		cmd.Env = append(os.Environ(), "DROVER_PASSWORD="+password)
		return cmd
	}
	plain, err := clientOf(endpoint, cert)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	if _, err := plain.UserAdd(t.Context(), "root", password); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.UserGrantRole(t.Context(), "root", "root"); err != nil {
		t.Fatal(err)
	}
	if _, err := plain.AuthEnable(t.Context()); err != nil {
		t.Fatal(err)
	}

	node := func(name string) *program {
		p := launchCommand(t, do("serve", "--node", name, "--ttl", longTTL))
		p.says("ready node=" + name + " ")
		return p
	}
	first := node("n1")
	if out, err := do("start", "sleep", "--id", "own", "--disposition", "owner-bound", "--input", `{"duration":"1h"}`).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	get := func() string {
		out, err := do("get", "own", "-o", "json").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	eventually(t, "it to run", func() bool { return strings.Contains(get(), `"status":"running"`) })
	witness := witnessOf(t, first.cmd.Process.Pid)
	for _, file := range []string{"environ", "cmdline"} {
		content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", witness, file))
		if err == nil && strings.Contains(string(content), password) {
			t.Errorf("the password is in the witness's %s", file)
		}
	}
	node("n2")
	first.kill()
	eventually(t, "n2 to hear of the death", func() bool { return strings.Contains(get(), `"status":"abandoned"`) })
	if got := get(); !strings.Contains(got, "its witness saw process") {
		t.Errorf("it is %s", got)
	}
}
