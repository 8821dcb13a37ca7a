package kinds

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// DefaultHTTPTimeout is how long a request may take, from its start to the end of the answer's body.
const DefaultHTTPTimeout = 30 * time.Second

// HTTPInput is the input of http. Only URL is required.
type HTTPInput struct {
	URL     string            `json:"url"`              // http or https
	Method  string            `json:"method,omitempty"` // "": POST if there is a body, else GET; in capitals or not
	Headers map[string]string `json:"headers,omitempty"`
	// Body is sent as the JSON that it is; null is none. Of a string under a Content-Type that is not JSON, the text is
	// sent, without quotes.
	Body    json.RawMessage `json:"body,omitempty"`
	Timeout string          `json:"timeout,omitempty"` // "": DefaultHTTPTimeout
}

// ParseHTTPInput decodes an input and checks it. Unknown fields are an error.
func ParseHTTPInput(input json.RawMessage) (HTTPInput, error) {
	var in HTTPInput
	if err := decodeStrictly(input, &in); err != nil {
		return HTTPInput{}, fmt.Errorf("input of http: %w", err)
	}
	return in, in.Validate()
}

// Validate reports all that can't be sent, whatever the server.
func (in HTTPInput) Validate() error {
	faults := []error{checkURL(in.URL)}
	if !isToken(in.method()) || in.method() == http.MethodConnect {
		faults = append(faults, fmt.Errorf("method: %.80q is none that can be sent", in.Method))
	}
	faults = append(faults, checkHeaders(in.Headers))
	if d, err := in.timeout(); err != nil || d <= 0 {
		faults = append(faults, errors.Join(err, errors.New(`timeout: it must be positive, such as "30s" or "2m"`)))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("input of http: %w", err)
	}
	return nil
}

func checkURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("url: %w", err)
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("url: %.80q does not begin with http:// or https://", text)
	case u.Hostname() == "":
		return fmt.Errorf("url: %.80q names no host", text)
	}
	return nil
}

// ours are the headers that drover sends with every request, besides Idempotency-Key, which an input may give.
const (
	headerID          = "Drover-Process-Id"
	headerAttempt     = "Drover-Attempt"
	headerFence       = "Drover-Fence"
	headerIdempotency = "Idempotency-Key"
)

// transportHeaders belong to the connection and not to a request: net/http sets them, or leaves them out without a word.
var transportHeaders = map[string]bool{
	"Connection": true, "Content-Length": true, "Keep-Alive": true, "Proxy-Connection": true, "Te": true,
	"Trailer": true, "Transfer-Encoding": true, "Upgrade": true,
}

func checkHeaders(headers map[string]string) error {
	var faults []error
	seen := map[string]bool{}
	for name, value := range headers {
		canonical := textproto.CanonicalMIMEHeaderKey(name)
		switch {
		case !isToken(name):
			faults = append(faults, fmt.Errorf("headers: %.80q is no name of a header", name))
		case strings.HasPrefix(canonical, "Drover-"):
			faults = append(faults, fmt.Errorf("headers: %s: those that begin with Drover- are drover's", name))
		case transportHeaders[canonical]:
			faults = append(faults, fmt.Errorf("headers: %s is a matter of the connection, and not to be set", name))
		case seen[canonical]:
			faults = append(faults, fmt.Errorf("headers: %s is there twice", canonical))
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			faults = append(faults, fmt.Errorf("headers: the value of %s has a control character", name))
		}
		seen[canonical] = true
	}
	return errors.Join(faults...)
}

// isToken says whether HTTP takes s for a method or the name of a header.
func isToken(s string) bool {
	for _, r := range s {
		if r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r) {
			return false
		}
	}
	return s != ""
}

func (in HTTPInput) method() string {
	switch {
	case in.Method != "":
		return strings.ToUpper(in.Method)
	case in.hasBody():
		return http.MethodPost
	default:
		return http.MethodGet
	}
}

func (in HTTPInput) timeout() (time.Duration, error) {
	if in.Timeout == "" {
		return DefaultHTTPTimeout, nil
	}
	return time.ParseDuration(in.Timeout)
}

func (in HTTPInput) hasBody() bool { return len(in.Body) > 0 && string(in.Body) != "null" }

// body is what is sent, under that Content-Type.
func (in HTTPInput) body(contentType string) []byte {
	var text string
	switch {
	case !in.hasBody():
		return nil
	case !isJSONType(contentType) && json.Unmarshal(in.Body, &text) == nil:
		return []byte(text)
	default:
		return in.Body
	}
}

func isJSONType(contentType string) bool {
	media, _, _ := mime.ParseMediaType(contentType) // of one that can't be read, what could be
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

// headerText makes an id a legal value of a header, which a receiver can take back: what is not visible ASCII, and '%'
// and '#', is percent-encoded, byte by byte.
func headerText(id string) string {
	var b strings.Builder
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c >= utf8.RuneSelf-1 || c == '%' || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
