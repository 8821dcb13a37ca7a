package kinds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

// site is a server that remembers what it was asked.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	asked []asked
}

type asked struct {
	method, path, body, host string
	header                   http.Header
}

func newSite(t *testing.T, answer http.HandlerFunc) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.asked = append(s.asked, asked{r.Method, r.URL.String(), string(body), r.Host, r.Header.Clone()})
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *site) requests() []asked {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// elsewhere is the same server under another name.
func (s *site) elsewhere() string { return strings.Replace(s.URL, "127.0.0.1", "localhost", 1) }

func says(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func wantProcess(t *testing.T, p registry.Process, status registry.Status, says, output string) {
	t.Helper()
	var last string
	if n := len(p.History); n > 0 {
		last = p.History[n-1].Error
	}
	if p.Status != status || !strings.Contains(last, says) || string(p.Output) != output {
		t.Errorf("%s, %q, output %s; want %s, %q, %s", p.Status, last, p.Output, status, says, output)
	}
}

func TestHTTPSendsWhatItIsTold(t *testing.T) {
	s := newSite(t, says(201, "application/json", `{"id": 7, "html": "<&>"}`))
	b := newBench(t, ExecOptions{})
	p := b.run(t.Context(), "http", `{"url":"`+s.URL+`/orders?a=b","method":"put","headers":{"authorization":"Bearer x","X-N":"1"},"body":{"n":1.50,"t":"<&>"}}`, registry.MaxAttempts(1))
	wantProcess(t, p, registry.StatusCompleted, "",
		`{"status":201,"headers":{"Content-Type":"application/json"},"body":{"id":7,"html":"<&>"},"truncated":false}`)
	got := s.requests()[0]
	if got.method != "PUT" || got.path != "/orders?a=b" || got.body != `{"n":1.50,"t":"<&>"}` {
		t.Errorf("it was asked %s %s %s", got.method, got.path, got.body)
	}
	for name, want := range map[string]string{
		"Authorization": "Bearer x", "X-N": "1", "Content-Type": "application/json", "User-Agent": "drover/test",
		"Drover-Process-Id": headerText(p.ID), "Idempotency-Key": headerText(p.ID), "Drover-Attempt": "1",
		"Drover-Fence": fmt.Sprint(p.Fence),
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), want)
		}
	}
}

func TestHTTPBodies(t *testing.T) {
	s := newSite(t, says(204, "text/plain", ""))
	b := newBench(t, ExecOptions{})
	for name, tt := range map[string]struct {
		fields             string
		method, body, kind string
	}{
		"none":              {``, "GET", "", ""},
		"null":              {`,"body":null`, "GET", "", ""},
		"a string":          {`,"body":"a\n"`, "POST", `"a\n"`, "application/json"},
		"text":              {`,"body":"a=1&b=<","headers":{"content-type":"application/x-www-form-urlencoded"}`, "POST", "a=1&b=<", "application/x-www-form-urlencoded"},
		"JSON by its name":  {`,"body":"a","headers":{"Content-Type":"application/problem+json; charset=utf-8"}`, "POST", `"a"`, "application/problem+json; charset=utf-8"},
		"not text":          {`,"body":[1],"headers":{"Content-Type":"text/plain"}`, "POST", `[1]`, "text/plain"},
		"false":             {`,"body":false`, "POST", `false`, "application/json"},
		"one under another": {`,"body":{},"method":"DELETE"`, "DELETE", `{}`, "application/json"},
	} {
		p := b.run(t.Context(), "http", `{"url":"`+s.URL+`/`+strings.ReplaceAll(name, " ", "-")+`"`+tt.fields+`}`)
		wantProcess(t, p, registry.StatusCompleted, "", `{"status":204,"headers":{"Content-Type":"text/plain"},"body":"","truncated":false}`)
		all := s.requests()
		got := all[len(all)-1]
		if got.method != tt.method || got.body != tt.body || got.header.Get("Content-Type") != tt.kind {
			t.Errorf("%s: %s, %q as %q; want %s, %q as %q", name, got.method, got.body, got.header.Get("Content-Type"), tt.method, tt.body, tt.kind)
		}
	}
}

func TestHTTPHeadersOfTheInputWin(t *testing.T) {
	s := newSite(t, says(200, "text/plain", "ok"))
	b := newBench(t, ExecOptions{})
	p := b.run(t.Context(), "http", `{"url":"`+s.URL+`","headers":{"Idempotency-Key":"mine","User-Agent":"me","Host":"example.org"}}`)
	wantProcess(t, p, registry.StatusCompleted, "", `{"status":200,"headers":{"Content-Type":"text/plain"},"body":"ok","truncated":false}`)
	got := s.requests()[0]
	if h := got.header; h.Get("Idempotency-Key") != "mine" || h.Get("User-Agent") != "me" || got.host != "example.org" {
		t.Errorf("host %s, headers %v", got.host, h)
	}
}

func TestHTTPIdsInHeadersAreASCII(t *testing.T) {
	for id, want := range map[string]string{
		"thumbs/42": "thumbs/42", "a b": "a%20b", "ü": "%C3%BC", "50%": "50%25", "a#2": "a%232", "\u007f": "%7F", "~": "~",
	} {
		if got := headerText(id); got != want {
			t.Errorf("%q: %q, want %q", id, got, want)
		}
	}
}

func TestHTTPRetriesWhatMayPass(t *testing.T) {
	for name, tt := range map[string]struct {
		status     int
		retryAfter string
		soonest    time.Duration // when it is due, of a policy that waits a second at the most
		latest     time.Duration
	}{
		"429 with seconds":      {429, "120", 120 * time.Second, 133 * time.Second},
		"503 with a date":       {503, "date", 599 * time.Second, 662 * time.Second},
		"503 without":           {503, "", 0, 2 * time.Second},
		"500":                   {500, "", 0, 2 * time.Second},
		"599":                   {599, "", 0, 2 * time.Second},
		"503 with nonsense":     {503, "soon", 0, 2 * time.Second},
		"503 with zero":         {503, "0", 0, 2 * time.Second},
		"429 with a year":       {429, "31536000", time.Hour, 67 * time.Minute},
		"429 with far too much": {429, "99999999999999999999999", time.Hour, 67 * time.Minute},
		"503 with a past date":  {503, "Sun, 06 Nov 1994 08:49:37 GMT", 0, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, ExecOptions{}) // of its own: what another one left may be due again
			s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
				switch tt.retryAfter {
				case "":
				case "date": // by the server's own clock, which is two hours off
					date := time.Now().Add(2 * time.Hour)
					w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
					w.Header().Set("Retry-After", date.Add(10*time.Minute).UTC().Format(http.TimeFormat))
				default:
					w.Header().Set("Retry-After", tt.retryAfter)
				}
				says(tt.status, "text/plain", "wait\n a bit")(w, nil)
			})
			begun := time.Now()
			p := b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`)
			due := p.DueAt.Sub(begun)
			switch {
			case p.Errors != 1 || len(p.History) != 1 || p.Output != nil || p.Ended():
				t.Errorf("%s after %d errors, output %s", p.Status, p.Errors, p.Output)
			case p.Status == registry.StatusScheduled && (due < tt.soonest || due > tt.latest):
				t.Errorf("due in %s, want %s to %s", due, tt.soonest, tt.latest)
			case p.Status != registry.StatusScheduled && tt.soonest > 0:
				t.Errorf("%s, want it to wait for %s", p.Status, tt.soonest)
			}
			if want := strings.TrimSpace(fmt.Sprintf("%d %s", tt.status, http.StatusText(tt.status))) + ": wait a bit"; p.History[0].Error != want {
				t.Errorf("error %q, want %q", p.History[0].Error, want)
			}
		})
	}
}

func TestHTTPKeepsTheAnswerOfTheLastAttempt(t *testing.T) {
	s := newSite(t, says(503, "text/html", "<b>down</b>"))
	b := newBench(t, ExecOptions{})
	p := b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`, registry.MaxAttempts(1))
	wantProcess(t, p, registry.StatusFailed, "503 Service Unavailable: <b>down</b>",
		`{"status":503,"headers":{"Content-Type":"text/html"},"body":"<b>down</b>","truncated":false}`)
}

func TestHTTPFailsAtOnceOnOtherAnswers(t *testing.T) {
	b := newBench(t, ExecOptions{})
	for status, text := range map[int]string{404: "404 Not Found: no", 408: "408 Request Timeout: no", 300: "300 Multiple Choices: no", 999: "999: no"} {
		s := newSite(t, says(status, "text/plain", "no"))
		p := b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`)
		wantProcess(t, p, registry.StatusFailed, text, fmt.Sprintf(`{"status":%d,"headers":{"Content-Type":"text/plain"},"body":"no","truncated":false}`, status))
		if p.Errors > 1 || len(s.requests()) != 1 {
			t.Errorf("%d: %d errors, %d requests", status, p.Errors, len(s.requests()))
		}
	}
}

func TestHTTPCutsABodyOverTheLimit(t *testing.T) {
	b := newBench(t, ExecOptions{})
	for name, chunk := range map[string]string{"text": "ab€", "JSON": `{"a":"xxxxxxxxxxxxxxxx"},`, "control characters": "\x00\x01", "not UTF-8": "\xff\xfe"} {
		t.Run(name, func(t *testing.T) {
			gone := make(chan struct{})
			s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				defer close(gone)
				for r.Context().Err() == nil { // for ever
					if _, err := io.WriteString(w, strings.Repeat(chunk, 500)); err != nil {
						return
					}
				}
			})
			p := b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`)
			<-gone
			var o HTTPOutput
			if err := json.Unmarshal(p.Output, &o); err != nil || p.Status != registry.StatusCompleted {
				t.Fatalf("%s, %v in %.100s", p.Status, err, p.Output)
			}
			var text string
			if err := json.Unmarshal(o.Body, &text); err != nil || !o.Truncated {
				t.Fatalf("truncated %v, body %.100s", o.Truncated, o.Body)
			}
			whole := string([]rune(strings.Repeat(chunk, 40_000)))
			if !strings.HasPrefix(whole, text) || len(p.Output) > 65536 || len(p.Output) < 65536-120 {
				t.Errorf("%d bytes of output, body %.40q...", len(p.Output), text)
			}
		})
	}
}

func TestHTTPAnswersThatFitAreWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		contentType, body string
		want              string // "": the same
		cut               bool
	}{
		"an object":              {"text/plain; charset=utf-8", `{ "a" : [1, 2.50] }`, "", false},
		"a number as JSON":       {"application/json", `1e400`, "", false},
		"a number as text":       {"text/plain", `42`, `"42"`, false},
		"a string as JSON":       {"application/vnd.x+json", `"a"`, "", false},
		"a string as text":       {"text/plain", `"a"`, `"\"a\""`, false},
		"cut JSON":               {"application/json", `{"a":1`, `"{\"a\":1"`, false},
		"two values":             {"application/json", `{} {}`, `"{} {}"`, false},
		"JSON that is not UTF-8": {"application/json", "{\"a\":\"\xff\"}", `"{\"a\":\"` + "\uFFFD" + `\"}"`, false},
		"nothing":                {"application/json", "", `""`, false},
		"deep JSON":              {"application/json", repeat("[", 1000) + repeat("]", 1000), "", false},
		"deeper JSON":            {"application/json", repeat("[", 1001) + repeat("]", 1001), `"` + repeat("[", 1001) + repeat("]", 1001) + `"`, false},
		"HTML":                   {"text/html", "<a href='x'>&amp;</a>", `"<a href='x'>&amp;</a>"`, false},
		"text that grows":        {"text/plain", repeat("\x00", 60000), `"` + repeat(`\u0000`, (65536-82)/6) + `"`, true},
	} {
		got := answer{status: 200, body: []byte(tt.body), header: http.Header{"Content-Type": {tt.contentType}}}.output()
		want := tt.want
		if want == "" {
			want = tt.body
		}
		if string(got.Body) != want || got.Truncated != tt.cut {
			t.Errorf("%s: body %.200s, truncated %v; want %.200s", name, got.Body, got.Truncated, want)
		}
		if encoded, err := got.encode(); err != nil || len(encoded) > DefaultMaxOutput {
			t.Errorf("%s: %d bytes, %v", name, len(encoded), err)
		}
	}
	// JSON that fits the limit, but not the output around it.
	body := `{"a":"` + repeat("x", DefaultMaxOutput-8) + `"}`
	got := answer{status: 200, body: []byte(body)}.output()
	if encoded, err := got.encode(); err != nil || !got.Truncated || len(encoded) != DefaultMaxOutput-1 {
		t.Errorf("truncated %v, %d bytes, %v", got.Truncated, len(encoded), err)
	}
}

func TestHTTPHugeHeadersDoNotCrowdOutTheBody(t *testing.T) {
	header := http.Header{}
	for _, name := range keptHeaders {
		header.Set(name, repeat("\"", 10_000))
	}
	got := answer{status: 200, header: header, body: []byte("body")}.output()
	if string(got.Body) != `"body"` || len(got.Headers["Etag"]) != 512 {
		t.Errorf("body %.80s, an ETag of %d bytes", got.Body, len(got.Headers["Etag"]))
	}
}

func TestHTTPTimesOut(t *testing.T) {
	b := newBench(t, ExecOptions{})
	for name, begin := range map[string]bool{"before the headers": false, "in the body": true} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
				if begin {
					_, _ = io.WriteString(w, "half")
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done() // the client has gone
			})
			p := b.run(t.Context(), "http", `{"url":"`+s.URL+`","timeout":"100ms"}`)
			wantProcess(t, p, registry.StatusScheduled, `GET "`+s.URL+`": timed out: no whole answer within 100ms`, "")
		})
	}
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(404)
		_, _ = io.WriteString(w, "half\xe2\x82")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	p := b.run(t.Context(), "http", `{"url":"`+s.URL+`","timeout":"100ms"}`)
	wantProcess(t, p, registry.StatusFailed, "404 Not Found: half",
		`{"status":404,"headers":{"Content-Type":"text/plain; charset=utf-8"},"body":"half","truncated":true}`)
}

func TestHTTPRetriesWhenTheConnectionFails(t *testing.T) {
	b := newBench(t, ExecOptions{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := listener.Addr().String()
	listener.Close()
	p := b.run(t.Context(), "http", `{"url":"http://`+closed+`"}`)
	wantProcess(t, p, registry.StatusScheduled, "connection refused", "")

	s := newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	p = b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`)
	wantProcess(t, p, registry.StatusScheduled, "unexpected EOF", "")
}

func TestHTTPFollowsRedirects(t *testing.T) {
	b := newBench(t, ExecOptions{})
	const secrets = `"headers":{"Authorization":"Bearer x","X-Api-Key":"k","Accept":"text/plain"}`
	for name, tt := range map[string]struct {
		status    int
		input     string
		elsewhere bool
		want      string // method and body of the second request; "": it is not made
	}{
		"302 of a GET":            {302, secrets, false, "GET "},
		"301 to another host":     {301, secrets, true, "GET "},
		"307 of a POST":           {307, `"body":{"a":1},` + secrets, false, `POST {"a":1}`},
		"308 to another host":     {308, `"body":{"a":1},` + secrets, true, `POST {"a":1}`},
		"303 of a POST":           {303, `"body":1,` + secrets, false, "GET "},
		"302 of a POST":           {302, `"body":1,` + secrets, false, ""},
		"301 of a DELETE":         {301, `"method":"DELETE",` + secrets, false, ""},
		"302 of a HEAD elsewhere": {302, `"method":"HEAD",` + secrets, true, "HEAD "},
	} {
		t.Run(name, func(t *testing.T) {
			var s *site
			s = newSite(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/end" {
					says(200, "text/plain", "")(w, r)
					return
				}
				target := s.URL + "/end"
				if tt.elsewhere {
					target = s.elsewhere() + "/end"
				}
				http.Redirect(w, r, target, tt.status)
			})
			p := b.run(t.Context(), "http", `{"url":"`+s.URL+`/?secret",`+tt.input+`}`)
			all := s.requests()
			if tt.want == "" {
				if p.Status != registry.StatusFailed || len(all) != 1 || !strings.Contains(p.Error, "it would make a GET of a") ||
					!strings.Contains(string(p.Output), `"Location":"`+s.URL+`/end"`) {
					t.Errorf("%s, %q, %d requests, output %s", p.Status, p.Error, len(all), p.Output)
				}
				return
			}
			wantProcess(t, p, registry.StatusCompleted, "", `{"status":200,"headers":{"Content-Type":"text/plain"},"body":"","truncated":false}`)
			if len(all) != 2 || all[1].method+" "+all[1].body != tt.want {
				t.Fatalf("requests %+v, want the second to be %s", all, tt.want)
			}
			h := all[1].header
			if leaked := h.Get("Authorization") != "" || h.Get("X-Api-Key") != ""; leaked == tt.elsewhere {
				t.Errorf("headers %v", h)
			}
			if h.Get("Accept") != "text/plain" || h.Get("Drover-Process-Id") == "" || h.Get("Idempotency-Key") == "" || h.Get("Referer") != "" {
				t.Errorf("headers %v", h)
			}
		})
	}
}

func TestHTTPSecretsDoNotComeBackFromAnotherHost(t *testing.T) {
	b := newBench(t, ExecOptions{})
	var s *site
	s = newSite(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			http.Redirect(w, r, s.elsewhere()+"/away", http.StatusTemporaryRedirect)
		case "/away":
			http.Redirect(w, r, s.URL+"/back", http.StatusTemporaryRedirect)
		}
	})
	p := b.run(t.Context(), "http", `{"url":"`+s.URL+`/","headers":{"X-Api-Key":"k"}}`)
	all := s.requests()
	if p.Status != registry.StatusCompleted || len(all) != 3 || all[2].header.Get("X-Api-Key") != "" {
		t.Errorf("%s, requests %+v", p.Status, all)
	}
}

func TestHTTPRedirectsEnd(t *testing.T) {
	b := newBench(t, ExecOptions{})
	s := newSite(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/", http.StatusFound) })
	p := b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`)
	if p.Status != registry.StatusFailed || p.Error != `302 Found: its redirect to "/" is not followed: there were 10 before` || len(s.requests()) != 11 {
		t.Errorf("%s, %q, %d requests", p.Status, p.Error, len(s.requests()))
	}
	s = newSite(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", "file:///etc/passwd")
		w.WriteHeader(302)
	})
	p = b.run(t.Context(), "http", `{"url":"`+s.URL+`"}`)
	wantProcess(t, p, registry.StatusFailed, `302 Found: its redirect to "file:///etc/passwd" is not followed: it is neither http nor https`,
		`{"status":302,"headers":{"Location":"file:///etc/passwd"},"body":"","truncated":false}`)
}

func TestHTTPSameServer(t *testing.T) {
	for pair, want := range map[[2]string]bool{
		{"http://a/", "http://a:80/x"}:   true,
		{"http://a", "https://a"}:        true,
		{"http://a:80", "https://A:443"}: true,
		{"https://a", "http://a"}:        false,
		{"http://a", "http://a:81"}:      false,
		{"http://a:81", "https://a"}:     false,
		{"http://a", "http://b.a"}:       false,
	} {
		if got := sameServer(mustURL(t, pair[0]), mustURL(t, pair[1])); got != want {
			t.Errorf("%s and %s: %v", pair[0], pair[1], got)
		}
	}
}

func TestHTTPStopsWhenItIsTold(t *testing.T) {
	for name, begin := range map[string]bool{"before the headers": false, "in the body": true} {
		for _, cause := range []error{runner.ErrCancelRequested, runner.ErrLeaseLost, runner.ErrShutdown} {
			t.Run(name+", "+cause.Error(), func(t *testing.T) {
				b := newBench(t, ExecOptions{})
				ctx, cancel := context.WithCancelCause(t.Context())
				gone := make(chan struct{})
				s := newSite(t, func(w http.ResponseWriter, r *http.Request) {
					defer close(gone)
					if begin {
						_, _ = io.WriteString(w, "half")
						w.(http.Flusher).Flush()
					}
					cancel(cause)
					<-r.Context().Done()
				})
				input := `{"url":"` + s.URL + `","timeout":"1h"}`
				if errors.Is(cause, runner.ErrLeaseLost) {
					if err := b.lose(ctx, "http", input); !errors.Is(err, runner.ErrLeaseLost) {
						t.Errorf("error %v", err)
					}
				} else if p := b.run(ctx, "http", input); p.Errors != 0 || p.Error != map[error]string{runner.ErrCancelRequested: "cancel requested"}[cause] ||
					p.Status != map[error]registry.Status{runner.ErrCancelRequested: "cancelled", runner.ErrShutdown: "pending"}[cause] {
					t.Errorf("%s after %d errors, %q", p.Status, p.Errors, p.Error)
				}
				<-gone
			})
		}
	}
}

func TestHTTPInputIsChecked(t *testing.T) {
	for input, says := range map[string]string{
		``:                                                              "there is none",
		`{}`:                                                            "does not begin with http://",
		`{"url":"ftp://a"}`:                                             "does not begin with http://",
		`{"url":"/path"}`:                                               "does not begin with http://",
		`{"url":"http:///x"}`:                                           "names no host",
		`{"url":"http://:80"}`:                                          "names no host",
		`{"url":"http://a b"}`:                                          "invalid character",
		`{"url":"http://a","metod":"GET"}`:                              `unknown field "metod"`,
		`{"url":"http://a","method":"G T"}`:                             `method: "G T"`,
		`{"url":"http://a","method":"connect"}`:                         `method: "connect"`,
		`{"url":"http://a","timeout":"0s"}`:                             "timeout: it must be positive",
		`{"url":"http://a","timeout":"-1s"}`:                            "timeout: it must be positive",
		`{"url":"http://a","timeout":"soon"}`:                           "timeout",
		`{"url":"http://a","timeout":30}`:                               "cannot unmarshal number",
		`{"url":"http://a","headers":{"a b":"x"}}`:                      `"a b" is no name of a header`,
		`{"url":"http://a","headers":{"":"x"}}`:                         "is no name of a header",
		`{"url":"http://a","headers":{"A":"x\ny"}}`:                     "control character",
		`{"url":"http://a","headers":{"A":"x","a":"y"}}`:                "A is there twice",
		`{"url":"http://a","headers":{"drover-fence":"9"}}`:             "those that begin with Drover- are drover's",
		`{"url":"http://a","headers":{"content-length":"9"}}`:           "a matter of the connection",
		`{"url":"ftp://a","method":"","timeout":"x","headers":{"":""}}`: "is no name of a header",
	} {
		_, err := ParseHTTPInput([]byte(input))
		if err == nil || !strings.Contains(err.Error(), says) || !strings.HasPrefix(err.Error(), "input of http: ") {
			t.Errorf("%s: %v, want %q", input, err, says)
		}
		if checked := CheckInput("http", []byte(input)); checked == nil || checked.Error() != err.Error() {
			t.Errorf("%s: before it is stored: %v", input, checked)
		}
	}
	for _, input := range []string{
		`{"url":"http://a"}`, `{"url":"HTTPS://user:pw@[::1]:8443/x?y#z","timeout":"1h","headers":{"A":"ü\t"},"body":[]}`,
	} {
		if _, err := ParseHTTPInput([]byte(input)); err != nil {
			t.Errorf("%s: %v", input, err)
		}
	}
	b := newBench(t, ExecOptions{})
	p := b.run(t.Context(), "http", `{"url":"gopher://a"}`)
	wantProcess(t, p, registry.StatusFailed, "does not begin with http://", "")
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
