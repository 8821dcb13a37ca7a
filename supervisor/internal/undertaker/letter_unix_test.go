//go:build linux || darwin

package undertaker

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/supervisor/internal/witness"
)

const soon = 5 * time.Second

// willOf is the will of a new session, with the words of its letter.
func willOf(t *testing.T, client *clientv3.Client, access Access) (Will, []string) {
	t.Helper()
	r, err := registry.Open(t.Context(), client, registry.Options{Namespace: etcdtest.Namespace(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // it never fails
	s, err := r.OpenSession(t.Context(), registry.NodeInfo{Name: "n", Max: 1}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) }) // it may be gone
	testament, err := r.Testament(s)
	if err != nil {
		t.Fatal(err)
	}
	w := Will{Access: access, Testament: testament, PID: 77, Addresses: access.Resolve(t.Context())}
	line, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	if _, err := decode([]byte(words[0])); err != nil {
		t.Fatal(err)
	}
	return w, words[1:]
}

// record is what etcd holds of the node of a will, and whether the session stands.
func record(t *testing.T, client *clientv3.Client, w Will) (text string, stands bool) {
	t.Helper()
	resp, err := client.Get(t.Context(), "/"+w.Testament.Namespace+"/", clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range resp.Kvs {
		switch key := string(kv.Key); {
		case strings.Contains(key, "/node/"+w.Testament.Session):
			text = string(kv.Value)
		case strings.Contains(key, "/session/"+w.Testament.Session):
			stands = true
		}
	}
	return text, stands
}

func TestALetterEndsTheSessionAsTheWillDoes(t *testing.T) {
	client := etcdtest.Client(t)
	died := time.Date(2031, 2, 3, 4, 5, 6, 70, time.UTC)
	w, letter := willOf(t, client, Access{Endpoints: client.Endpoints()})
	if _, stands := record(t, client, w); !stands {
		t.Fatal("the session does not stand")
	}
	if !witness.Post(letter, died, witness.Now()+soon) {
		t.Fatal("etcd did not agree")
	}
	text, stands := record(t, client, w)
	if stands || !strings.Contains(text, "its witness saw process 77 end") || !strings.Contains(text, "2031-02-03T04:05:06.000000070Z") {
		t.Errorf("the session stands: %v, and of the node is said: %s", stands, text)
	}
	if witness.Post(letter, died, witness.Now()+soon) {
		t.Error("etcd agreed to end what had ended")
	}
	if ended, err := w.Testament.Execute(t.Context(), client, "again", time.Now()); err != nil || ended {
		t.Errorf("the will, executed after its letter: %v, %v", ended, err)
	}
	if after, _ := record(t, client, w); after != text {
		t.Errorf("it changed what is said of the node to %s", after)
	}
}

// What stands in etcd under the same name by now is not ended.
func TestALetterIsAboutOneSession(t *testing.T) {
	client := etcdtest.Client(t)
	w, letter := willOf(t, client, Access{Endpoints: client.Endpoints()})
	key := "/" + w.Testament.Namespace + "/v1/session/" + w.Testament.Session
	if _, err := client.Txn(t.Context()).Then(clientv3.OpDelete(key)).Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), key, "another"); err != nil {
		t.Fatal(err)
	}
	if witness.Post(letter, time.Now(), witness.Now()+soon) {
		t.Error("etcd agreed")
	}
	if _, stands := record(t, client, w); !stands {
		t.Error("it was ended")
	}
}

func TestALetterGoesToWhoAnswers(t *testing.T) {
	client := etcdtest.Client(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		gone, err = net.Listen("tcp", "127.0.0.1:0") // there is no IPv6
	}
	if err != nil {
		t.Fatal(err)
	}
	_ = gone.Close()
	endpoints := []string{"unix:///nowhere", "http://" + gone.Addr().String(), silent.Addr().String()}
	w, letter := willOf(t, client, Access{Endpoints: endpoints})
	began := witness.Now()
	if witness.Post(letter, time.Now(), began+soon) {
		t.Error("nobody answered, and yet")
	}
	if witness.Now() >= began+soon {
		t.Error("it waits as long as it may for who does not answer")
	}
	w.Addresses = append(w.Addresses, Access{Endpoints: client.Endpoints()}.Resolve(t.Context())...)
	if !witness.Post(strings.Fields(w.letter()), time.Now(), witness.Now()+soon) {
		t.Error("the last one would have answered")
	}
}

func TestResolve(t *testing.T) {
	const four = "ip:00000000000000000000ffff7f000001:2379"
	for _, c := range []struct {
		name   string
		access Access
		want   []string
	}{
		{"without a scheme", Access{Endpoints: []string{"127.0.0.1:2379"}}, []string{four}},
		{"with one", Access{Endpoints: []string{"http://127.0.0.1:2379"}}, []string{four}},
		{"IPv6", Access{Endpoints: []string{"http://[2001:db8::1]:80"}}, []string{"ip:20010db8000000000000000000000001:80"}},
		{"a socket", Access{Endpoints: []string{"unix:///run/e"}}, []string{"unix:/run/e"}},
		{"a relative one", Access{Endpoints: []string{"unix://e"}}, []string{"unix:e"}},
		{"several", Access{Endpoints: []string{"unix:/e", "127.0.0.1:2379"}}, []string{"unix:/e", four}},
		{"a path that is no part of a word", Access{Endpoints: []string{"unix:///a,b", "unix:///a b"}}, nil},
		{"no port", Access{Endpoints: []string{"127.0.0.1", "http://127.0.0.1"}}, nil},
		{"TLS", Access{Endpoints: []string{"https://127.0.0.1:2379"}}, nil},
		{"TLS, as there is a certificate", Access{Endpoints: []string{"127.0.0.1:2379"}, CA: []byte("-")}, nil},
		{"a password", Access{Endpoints: []string{"127.0.0.1:2379"}, Username: "u", Password: "p"}, nil},
	} {
		if got := c.access.Resolve(t.Context()); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
