package kinds

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// DefaultMaxOutput is how much of a command's output is kept, encoded.
const DefaultMaxOutput = 64 << 10

// ExecOutput is the output of exec. Bytes that are not UTF-8 are U+FFFD in it.
type ExecOutput struct {
	ExitCode  int    `json:"exit_code"` // 128 and the signal, if one ended the command
	Stdout    string `json:"stdout"`
	Stderr    string `json:"stderr"`
	Truncated bool   `json:"truncated"` // the streams were longer, and their beginnings are missing
}

// Encode is the output as JSON, without the escapes by which HTML would make it longer.
func (o ExecOutput) Encode() json.RawMessage {
	var encoded bytes.Buffer
	encoder := json.NewEncoder(&encoded)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(o); err != nil {
		panic(err) // there is nothing in it that could not be encoded
	}
	return bytes.TrimSuffix(encoded.Bytes(), []byte("\n"))
}

// fitOutput keeps as much of the ends of both streams as fits into limit bytes of JSON. Each has a right to half of it,
// and gets what the other leaves.
func fitOutput(code int, stdout, stderr *tail, limit int) ExecOutput {
	o := ExecOutput{ExitCode: code}
	budget := max(limit-len(o.Encode()), 0) // "false" is the longer one of the flag's two values
	out, errs := stdout.bytes(), stderr.bytes()
	outSize, errsSize := encodedSize(out, budget), encodedSize(errs, budget)
	outShare := max(budget/2, budget-errsSize)
	errsShare := max(budget-budget/2, budget-outSize)
	var outCut, errsCut bool
	o.Stdout, outCut = suffix(out, outShare, encodedLen)
	o.Stderr, errsCut = suffix(errs, errsShare, encodedLen)
	o.Truncated = stdout.cut || stderr.cut || outCut || errsCut
	return o
}

// suffix returns the longest end of p, as valid UTF-8, whose characters cost no more than budget together, and whether
// something is missing. No character is cut.
func suffix(p []byte, budget int, cost func(r rune, valid bool) int) (text string, cut bool) {
	start := len(p)
	for start > 0 {
		r, size := utf8.DecodeLastRune(p[:start])
		budget -= cost(r, r != utf8.RuneError || size > 1)
		if budget < 0 {
			break
		}
		start -= size
	}
	return string([]rune(string(p[start:]))), start > 0
}

// encodedSize is what p takes in JSON, or something more than limit.
func encodedSize(p []byte, limit int) (size int) {
	for len(p) > 0 && size <= limit {
		r, n := utf8.DecodeRune(p)
		size += encodedLen(r, r != utf8.RuneError || n > 1)
		p = p[n:]
	}
	return size
}

// encodedLen is what encoding/json, told not to escape HTML, makes of a character. One that was invalid has been
// replaced before.
func encodedLen(r rune, valid bool) int {
	switch {
	case !valid:
		return utf8.RuneLen(utf8.RuneError)
	case r == '"', r == '\\', r == '\n', r == '\r', r == '\t', r == '\b', r == '\f':
		return 2
	case r < 0x20, r == '\u2028', r == '\u2029': // the last two end lines in JavaScript
		return 6
	default:
		return utf8.RuneLen(r)
	}
}
