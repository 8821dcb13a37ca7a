package kinds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/drover-run/drover/registry"
)

// HTTPOutput is the output of http.
type HTTPOutput struct {
	Status int `json:"status"`
	// Headers are those of the answer's that say what its body is, and what to ask for next.
	Headers map[string]string `json:"headers"`
	// Body is the JSON that was answered, or else a string. It is taken for JSON if the Content-Type says so, or if it is
	// an object or an array. Bytes that are not UTF-8 are U+FFFD in a string.
	Body json.RawMessage `json:"body"`
	// Truncated says that the body was longer, or its end did not come: Body is a string with its beginning.
	Truncated bool `json:"truncated"`
}

func (o HTTPOutput) encode() (json.RawMessage, error) { return registry.Encode(o) }

// answer is what a server answered.
type answer struct {
	status  int
	header  http.Header
	body    []byte
	cut     bool   // it was longer
	refused string // why its redirect was not followed; "": it was none
}

func (got answer) completes() bool { return got.status >= 200 && got.status <= 299 }

// passes says that another attempt may be answered otherwise.
func (got answer) passes() bool {
	return got.status == http.StatusTooManyRequests || got.status >= 500 && got.status <= 599
}

// err is the status and the beginning of what the server has to say about it.
func (got answer) err() error {
	text := strings.TrimSpace(fmt.Sprintf("%d %s", got.status, http.StatusText(got.status)))
	if got.refused != "" {
		return fmt.Errorf("%s: its redirect to %.200q is not followed: %s", text, got.header.Get("Location"), got.refused)
	}
	said, _ := prefix(WholeRunes(got.body), 512, func(r rune, _ bool) int { return utf8.RuneLen(r) })
	if said = strings.Join(strings.Fields(said), " "); said != "" {
		text += ": " + said
	}
	return errors.New(text)
}

// keptHeaders go into the output, as much of each as maxHeader.
var keptHeaders = []string{"Content-Type", "Etag", "Last-Modified", "Location", "Retry-After", "X-Request-Id"}

const maxHeader = 1024

// output makes of the answer what fits into DefaultMaxOutput bytes of JSON.
func (got answer) output() HTTPOutput {
	o := HTTPOutput{Status: got.status, Headers: map[string]string{}}
	for _, name := range keptHeaders {
		if values := got.header.Values(name); len(values) > 0 {
			o.Headers[name], _ = prefix([]byte(strings.Join(values, ", ")), maxHeader, encodedLen)
		}
	}
	if !got.cut && isJSON(got.body, got.header.Get("Content-Type")) {
		o.Body = got.body
		if encoded, err := o.encode(); err == nil && len(encoded) <= DefaultMaxOutput {
			return o
		}
	}
	o.Body = json.RawMessage(`""`)
	empty, err := o.encode()
	if err != nil {
		panic(err) // there is nothing in it that could not be encoded
	}
	body := got.body
	if got.cut {
		body = WholeRunes(body)
	}
	text, cut := prefix(body, DefaultMaxOutput-len(empty), encodedLen)
	o.Body, err = registry.Encode(text)
	if err != nil {
		panic(err) // as before
	}
	o.Truncated = got.cut || cut
	return o
}

// maxNesting is how deep a body's arrays and objects may be within each other. encoding/json reads 10,000 levels, and
// who reads the row, or what is made of it, needs a few for itself.
const maxNesting = 1000

// isJSON says whether a body is to be kept as JSON: a row can hold it, and it was meant so. Text that is a number by
// chance was not.
func isJSON(body []byte, contentType string) bool {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	composite := len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[')
	return (composite || isJSONType(contentType)) && utf8.Valid(body) && json.Valid(body) && nesting(body) <= maxNesting
}

func nesting(body []byte) (deepest int) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	depth := 0
	for {
		token, err := decoder.Token()
		switch {
		case errors.Is(err, io.EOF):
			return deepest
		case err != nil:
			return maxNesting + 1
		case token == json.Delim('[') || token == json.Delim('{'):
			depth++
			deepest = max(deepest, depth)
		case token == json.Delim(']') || token == json.Delim('}'):
			depth--
		}
	}
}

// prefix is like suffix, for the beginning of p.
func prefix(p []byte, budget int, cost func(r rune, valid bool) int) (text string, cut bool) {
	end := 0
	for end < len(p) {
		r, size := utf8.DecodeRune(p[end:])
		budget -= cost(r, r != utf8.RuneError || size > 1)
		if budget < 0 {
			break
		}
		end += size
	}
	return string([]rune(string(p[:end]))), end < len(p)
}

// WholeRunes is p without the beginning of a character at its end, which may be completed by what comes next.
func WholeRunes(p []byte) []byte {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) {
				return p[:i]
			}
			break
		}
	}
	return p
}
