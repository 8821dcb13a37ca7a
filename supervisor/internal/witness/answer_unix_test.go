//go:build linux || darwin

package witness

import (
	"bytes"
	"slices"
	"testing"
)

func frame(kind, flags byte, payload ...byte) []byte {
	n := len(payload)
	return append([]byte{byte(n >> 16), byte(n >> 8), byte(n), kind, flags, 0, 0, 0, 1}, payload...)
}

// A header of three bytes, then that it succeeded.
var yes = []byte{0, 0, 0, 0, 7, 0x0a, 3, 8, 1, 16, 0x10, 1}

func TestAnswer(t *testing.T) {
	settings, headers := frame(4, 0, 0, 5, 0, 0, 64, 0), frame(1, 4, 0x88)
	no := []byte{0, 0, 0, 0, 5, 0x0a, 3, 8, 1, 16}
	otherwise := []byte{0, 0, 0, 0, 7, 0x0a, 3, 8, 1, 16, 0x10, 0}
	for _, c := range []struct {
		name     string
		received []byte
		whole    bool
		agrees   bool
	}{
		{"nothing", nil, false, false},
		{"no message yet", slices.Concat(settings, headers), false, false},
		{"it succeeded", slices.Concat(settings, headers, frame(0, 0, yes...)), true, true},
		{"in two frames", slices.Concat(headers, frame(0, 0, yes[:3]...), settings, frame(0, 0, yes[3:]...)), true, true},
		{"it did not, which protobuf leaves out", slices.Concat(headers, frame(0, 0, no...)), true, false},
		{"it did not", slices.Concat(headers, frame(0, 0, otherwise...)), true, false},
		{"refused", slices.Concat(settings, frame(1, 5, 0x88)), true, false},
		{"reset", slices.Concat(headers, frame(3, 0, 0, 0, 0, 8)), true, false},
		{"going away", frame(7, 0, 0, 0, 0, 0, 0, 0, 0, 0), true, false},
		{"padded", slices.Concat(headers, frame(0, 8, append([]byte{1}, yes...)...)), true, false},
		{"compressed", slices.Concat(headers, frame(0, 0, append([]byte{1}, yes[1:]...)...)), true, false},
		{"no protobuf", slices.Concat(headers, frame(0, 0, 0, 0, 0, 0, 2, 0x0a, 0xff)), true, false},
		{"longer than it is", slices.Concat(headers, frame(0, 0, 0, 0, 0, 0, 3, 0x0a, 9, 1)), true, false},
	} {
		answer, whole := findAnswer(c.received)
		if got := whole && agrees(answer); whole != c.whole || got != c.agrees {
			t.Errorf("%s: whole %v, agrees %v", c.name, whole, got)
		}
	}
}

// However it arrives: it agrees when all of the message is there, and not before.
func TestAnswerInPieces(t *testing.T) {
	all := slices.Concat(frame(4, 0), frame(1, 4, 0x88), frame(0, 0, yes...), frame(1, 5, 0x88))
	end := bytes.Index(all, yes) + len(yes)
	for n := range len(all) {
		if _, whole := findAnswer(all[:n]); whole != (n >= end) {
			t.Errorf("of the first %d bytes it is said that they are whole: %v", n, whole)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(slices.Concat(frame(1, 4, 0x88), frame(0, 0, yes...)))
	f.Fuzz(func(_ *testing.T, received []byte) {
		if answer, whole := findAnswer(received); whole {
			agrees(answer)
		}
	})
}
