package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/drover-run/drover/registry"
)

// asked is what a server was asked, in order.
type asked struct {
	mu       sync.Mutex
	requests []string
}

func (a *asked) add(r *http.Request) (n int) {
	body, _ := io.ReadAll(r.Body) // a request that broke off is asked again
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests = append(a.requests, strings.Join([]string{
		r.Method, r.URL.Path, string(body), r.Header.Get("Drover-Process-Id"), r.Header.Get("Drover-Attempt"),
		r.Header.Get("Idempotency-Key"), r.Header.Get("User-Agent"),
	}, " "))
	return len(a.requests)
}

func (a *asked) all() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.requests)
}

func TestHTTPKind(t *testing.T) {
	t.Parallel()
	var got asked
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n := got.add(r); {
		case r.URL.Path == "/missing":
			http.Error(w, "<no such thing>", http.StatusNotFound)
		case n == 1:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "later", http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, `{"paid": true, "html": "<b>"}`)
		}
	}))
	defer site.Close()
	_, c := server(t, "--allow", "http")

	c.must("start", "http", "--id", "pay/42", "--input", `{"url":"`+site.URL+`/pay","body":{"cents":100}}`, "--wait")
	if out, want := c.must("output", "pay/42"), `{"status":200,"headers":{"Content-Type":"text/plain; charset=utf-8"},"body":{"paid":true,"html":"<b>"},"truncated":false}`+"\n"; out != want {
		t.Errorf("output %s, want %s", out, want)
	}
	p := processes(t, "get", "pay/42", "--endpoints", c.endpoint)[0]
	if len(p.History) != 2 || p.History[0].Error != "503 Service Unavailable: later" || p.History[1].StartedAt.Sub(p.History[0].EndedAt) < 900e6 {
		t.Errorf("history %+v, want one refusal and a second between", p.History)
	}
	want := []string{`POST /pay {"cents":100} pay/42 1 pay/42 drover/dev`, `POST /pay {"cents":100} pay/42 2 pay/42 drover/dev`}
	if all := got.all(); !slices.Equal(all, want) {
		t.Errorf("requests %q, want %q", all, want)
	}

	r := c.do("start", "http", "--id", "lost", "--input", `{"url":"`+site.URL+`/missing"}`, "--wait")
	if r.code != 1 || r.errs != "drover: process lost failed: 404 Not Found: <no such thing>\n" {
		t.Errorf("a 404: exit code %d, %q", r.code, r.errs)
	}
	if p := processes(t, "get", "lost", "--endpoints", c.endpoint)[0]; p.Status != registry.StatusFailed || p.Attempt != 1 || !strings.Contains(string(p.Output), `"status":404`) {
		t.Errorf("%s in attempt %d, output %s", p.Status, p.Attempt, p.Output)
	}

	for input, says := range map[string]string{
		`{"url":"ftp://a"}`:                   "input of http: url: ",
		`{"url":"http://a","headrs":{}}`:      `input of http: json: unknown field "headrs"`,
		`{"url":"http://a","timeout":"soon"}`: "input of http: ",
	} {
		r := c.do("start", "http", "--input", input)
		if r.code != 2 || r.out != "" || !strings.Contains(r.errs, says) {
			t.Errorf("%s: exit code %d, %q, %q; it must not be stored", input, r.code, r.out, r.errs)
		}
		oneLine(t, r.errs)
	}
}

func TestHTTPRunsOnlyWhereItIsAllowed(t *testing.T) {
	t.Parallel()
	var got asked
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got.add(r) }))
	defer site.Close()
	_, c := server(t, "--allow", "exec")
	c.must("start", "http", "--id", "h", "--input", `{"url":"`+site.URL+`"}`)
	c.must("start", "noop", "--id", "after", "--wait")
	if status := c.status("h"); status != "pending" || len(got.all()) != 0 {
		t.Errorf("%s, requests %q", status, got.all())
	}
	launch(t, "serve", "--endpoints", c.endpoint, "--node", "n2", "--allow", "http").says("ready")
	c.reaches("h", "completed")
	if len(got.all()) != 1 {
		t.Errorf("requests %q", got.all())
	}
}

func TestCancelledHTTPStopsAtOnce(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan struct{})
	site := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(gone)
	}))
	defer site.Close()
	_, c := server(t, "--allow", "http")
	c.must("start", "http", "--id", "h", "--input", `{"url":"`+site.URL+`","timeout":"1h"}`)
	<-begun
	if r := c.do("cancel", "h", "--wait"); r != (result{"h cancelled\n", "", 0}) {
		t.Errorf("cancel: %+v", r)
	}
	<-gone
}
