package kinds

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const maxRedirects = 10

// redirects decides which redirects of one request are followed.
type redirects struct {
	refused string // why the last one was not; to be read once the answer is there
}

// check is a http.Client's CheckRedirect. A redirect that is not followed is the answer.
func (r *redirects) check(next *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case len(via) > maxRedirects:
		r.refused = "there were " + strconv.Itoa(maxRedirects) + " before"
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		r.refused = "it is neither http nor https"
	case next.Method != last.Method && next.Response.StatusCode != http.StatusSeeOther:
		r.refused = "it would make a " + next.Method + " of a " + last.Method
	default:
		next.Header.Del("Referer") // the query of a URL may hold what is nobody else's business
		for _, passed := range append(via[1:len(via):len(via)], next) {
			if !sameServer(via[0].URL, passed.URL) {
				removePrivate(next.Header)
			}
		}
		return nil
	}
	return http.ErrUseLastResponse
}

// sameServer says whether what was sent to from may go to another URL as it is. net/http looks at the host alone.
func sameServer(from, other *url.URL) bool {
	if !strings.EqualFold(from.Hostname(), other.Hostname()) {
		return false
	}
	if from.Scheme == other.Scheme {
		return port(from) == port(other)
	}
	return from.Scheme == "http" && port(from) == "80" && port(other) == "443"
}

func port(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	default:
		return "80"
	}
}

// publicHeaders may go to any server. An input's other headers are for the one that it names: a secret can stand under
// any name.
var publicHeaders = map[string]bool{
	"Accept": true, "Accept-Encoding": true, "Accept-Language": true, "Content-Type": true, "User-Agent": true,
	headerID: true, headerAttempt: true, headerFence: true, headerIdempotency: true,
}

func removePrivate(h http.Header) {
	for name := range h {
		if !publicHeaders[name] {
			delete(h, name)
		}
	}
}

// MaxRetryAfter is the longest Retry-After that is honoured. A server that asks for more is asked again after this.
const MaxRetryAfter = time.Hour

// retryAfter is how long a server asks to be left alone. It does not ask if that is no time at all: the process's own
// policy is better than a loop.
func retryAfter(h http.Header, now time.Time) (wait time.Duration, told bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	seconds, err := strconv.ParseUint(value, 10, 64)
	switch {
	case err == nil && seconds <= uint64(MaxRetryAfter/time.Second):
		wait = time.Duration(seconds) * time.Second
	case err == nil, errors.Is(err, strconv.ErrRange):
		wait = MaxRetryAfter
	default:
		until, err := http.ParseTime(value)
		if err != nil {
			return 0, false
		}
		// By the server's own clock, if it says what that is.
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		wait = min(until.Sub(now), MaxRetryAfter)
	}
	return wait, wait > 0
}
