package kinds

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/drover-run/drover/runner"
)

// HTTPOptions are for HTTP.
type HTTPOptions struct {
	// UserAgent is sent unless an input gives another one. "": drover.
	UserAgent string
}

// HTTP is the handler of http, whose input is an HTTPInput and whose output an HTTPOutput. An attempt is one request, with
// the redirects that it leads to.
//
// An answer of 2xx completes the process. 429, 5xx and whatever keeps an answer from coming whole (no connection, one
// that breaks, the timeout) fail the attempt; a Retry-After that comes with them, of up to [MaxRetryAfter], says when the
// next one is due. Any other answer fails the process. The output is kept whenever there is an answer and the process
// ends with it.
//
// Every request carries Drover-Process-Id, Drover-Attempt, Drover-Fence and Idempotency-Key. The key is the same for all
// attempts of a series: the id, and for those after the first "#" and its number, so that a process that was retried
// by hand is not answered with the failure that its server remembers. An input that has an Idempotency-Key of its own
// keeps that one. In both headers an id is percent-encoded where it is not visible ASCII or has '%' or '#'.
//
// A redirect is followed, up to ten times, if it keeps the method, as those of a GET and 307 and 308 do, or is a 303, by
// which a server says that it did what was asked. A 301 or 302 that would make a GET of a POST is not: its process would
// complete without having been done. Once a request has left the host, port and scheme of its URL (https for http is no
// leaving), it no longer has the input's headers, but for Accept, Content-Type, Idempotency-Key and their like.
//
// HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the node count.
func HTTP(o HTTPOptions) runner.Handler {
	if o.UserAgent == "" {
		o.UserAgent = "drover"
	}
	c := caller{userAgent: o.UserAgent, transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConns:           100,
		MaxIdleConnsPerHost:    16,
		MaxResponseHeaderBytes: 64 << 10,
		ForceAttemptHTTP2:      true, // a dialer of one's own turns it off
	}}
	return runner.HandlerFunc(func(ctx context.Context, a *runner.Attempt) (any, error) {
		in, err := ParseHTTPInput(a.Input())
		if err != nil {
			return nil, runner.Fail(err)
		}
		got, err := c.call(ctx, in, a)
		if err != nil {
			return nil, err
		}
		return got.verdict()
	})
}

// caller sends requests.
type caller struct {
	userAgent string
	transport *http.Transport
}

// errHTTPTimeout is why the context of a request ended that took too long.
var errHTTPTimeout = errors.New("timed out")

// call sends the request and reads the answer. Its errors are those by which there was none.
func (c caller) call(ctx context.Context, in HTTPInput, a *runner.Attempt) (answer, error) {
	timeout, err := in.timeout()
	if err != nil {
		return answer{}, runner.Fail(err)
	}
	limited, cancel := context.WithTimeoutCause(ctx, timeout, errHTTPTimeout)
	defer cancel()
	req, err := c.request(limited, in, a)
	if err != nil {
		return answer{}, runner.Fail(err) // it was checked, so that there is none
	}
	var r redirects
	client := http.Client{Transport: c.transport, CheckRedirect: r.check}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, noAnswer(ctx, limited, timeout, req, err)
	}
	defer resp.Body.Close()
	got := answer{status: resp.StatusCode, header: resp.Header, refused: r.refused}
	got.body, got.cut, err = readBody(resp.Body)
	if err != nil && (got.completes() || ctx.Err() != nil) {
		return answer{}, noAnswer(ctx, limited, timeout, req, err)
	}
	return got, nil // without the rest of its body, another status says all that matters
}

// request is what is sent. Note that net/http may send a request with an Idempotency-Key again by itself, on another
// connection, if the one that it was on turns out to be closed. The server can't tell that from another attempt.
func (c caller) request(ctx context.Context, in HTTPInput, a *runner.Attempt) (*http.Request, error) {
	header := http.Header{"User-Agent": {c.userAgent}, headerIdempotency: {idempotencyKey(a)}}
	if in.hasBody() {
		header.Set("Content-Type", "application/json")
	}
	for name, value := range in.Headers {
		header.Set(name, value)
	}
	header.Set(headerID, headerText(a.ID()))
	header.Set(headerAttempt, strconv.Itoa(a.Number()))
	header.Set(headerFence, strconv.FormatInt(a.Fence(), 10))
	req, err := http.NewRequestWithContext(ctx, in.method(), in.URL, bytes.NewReader(in.body(header.Get("Content-Type"))))
	if err != nil {
		return nil, err
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	req.Header = header
	return req, nil
}

func idempotencyKey(a *runner.Attempt) string {
	key := headerText(a.ID())
	if series := a.Series(); series > 1 {
		key += "#" + strconv.Itoa(series)
	}
	return key
}

// noAnswer tells why: the attempt was told to end, the request took too long, or what net/http says.
func noAnswer(ctx, limited context.Context, timeout time.Duration, req *http.Request, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(context.Cause(limited), errHTTPTimeout):
		return fmt.Errorf("%s %q: %w: no whole answer within %s", req.Method, req.URL.Redacted(), errHTTPTimeout, timeout)
	}
	return err
}

// maxBody is how much of an answer's body is read.
const maxBody = DefaultMaxOutput

func readBody(r io.Reader) (body []byte, cut bool, err error) {
	body, err = io.ReadAll(io.LimitReader(r, maxBody+1))
	if len(body) > maxBody {
		return body[:maxBody], true, nil
	}
	return body, err != nil, err
}

// verdict tells the runner what the answer means.
func (got answer) verdict() (any, error) {
	output, err := got.output().encode()
	if err != nil {
		return nil, runner.Fail(err)
	}
	if got.completes() {
		return output, nil
	}
	err = got.err()
	wait, told := retryAfter(got.header, time.Now())
	switch {
	case !got.passes():
		err = runner.Fail(err)
	case told:
		// Spread, as whoever was told the same would come back at the same moment.
		err = runner.RetryAfter(wait+rand.N(wait/10+1), err)
	}
	return nil, runner.WithOutput(err, output)
}
