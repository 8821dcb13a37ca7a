package kinds

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

func itoa(n int) string { return strconv.Itoa(n) }

func tailOf(limit int, s string) *tail {
	t := &tail{max: limit}
	t.write([]byte(s))
	return t
}

func TestTailKeepsTheLastBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		limit := 1 + random.IntN(20)
		kept := &tail{max: limit}
		var all []byte
		for range random.IntN(8) {
			p := make([]byte, random.IntN(30))
			for i := range p {
				p[i] = byte('a' + random.IntN(26))
			}
			kept.write(p)
			all = append(all, p...)
		}
		want := all[max(0, len(all)-limit):]
		if got := kept.bytes(); !bytes.Equal(got, want) {
			t.Fatalf("kept %q of %q with room for %d", got, all, limit)
		}
		if kept.cut != (len(all) > limit) {
			t.Fatalf("cut is %v for %d bytes with room for %d", kept.cut, len(all), limit)
		}
	}
}

func TestTailDropsTheRestOfACharacterWhoseBeginningIsGone(t *testing.T) {
	for limit, want := range map[int]string{4: "€b", 3: "b", 2: "b", 1: "b"} {
		if got := string(tailOf(limit, "a€b").bytes()); got != want {
			t.Errorf("with room for %d: %q, want %q", limit, got, want)
		}
	}
	if got := string(tailOf(9, "\x82\xacb").bytes()); got != "\x82\xacb" {
		t.Errorf("bytes that the command itself wrote are gone: %q", got)
	}
}

func TestEncodedLenIsWhatTheEncoderWrites(t *testing.T) {
	empty := len(ExecOutput{}.Encode())
	for r := range rune(utf8.MaxRune + 1) {
		if !utf8.ValidRune(r) || r > 0x3000 && r%97 != 0 {
			continue
		}
		if got, want := encodedLen(r, true), len(ExecOutput{Stdout: string(r)}.Encode())-empty; got != want {
			t.Errorf("%U: %d bytes, encoded it has %d", r, got, want)
		}
	}
}

func TestFitOutput(t *testing.T) {
	empty := len(ExecOutput{}.Encode())
	tests := map[string]struct {
		stdout, stderr string
		room           int // beside the empty output
		want           ExecOutput
	}{
		"all fits":                     {"abc", "de", 5, ExecOutput{Stdout: "abc", Stderr: "de"}},
		"each has a half":              {"abcdef", "uvwxyz", 6, ExecOutput{Stdout: "def", Stderr: "xyz", Truncated: true}},
		"one leaves some to the other": {"ab", "uvwxyz", 6, ExecOutput{Stdout: "ab", Stderr: "wxyz", Truncated: true}},
		"the other to the one":         {"abcdef", "yz", 6, ExecOutput{Stdout: "cdef", Stderr: "yz", Truncated: true}},
		"no character is cut":          {"a€€", "", 5, ExecOutput{Stdout: "€", Truncated: true}},
		"not UTF-8":                    {"a\xff\xfeb", "", 8, ExecOutput{Stdout: "a\uFFFD\uFFFDb"}},
		"not UTF-8, too long":          {"a\xff\xfeb", "", 7, ExecOutput{Stdout: "\uFFFD\uFFFDb", Truncated: true}},
		"control characters":           {"\x00\x01\n", "", 8, ExecOutput{Stdout: "\x01\n", Truncated: true}},
		"HTML is not escaped":          {"<&>", "", 3, ExecOutput{Stdout: "<&>"}},
		"no room":                      {"a", "b", -10, ExecOutput{Truncated: true}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := fitOutput(0, tailOf(100, tt.stdout), tailOf(100, tt.stderr), empty+tt.room)
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
	if got := fitOutput(0, tailOf(2, "abc"), tailOf(2, ""), 1000); got != (ExecOutput{Stdout: "bc", Truncated: true}) {
		t.Errorf("what the tail dropped is not called truncated: %+v", got)
	}
}

func TestEncodedOutputAlwaysFits(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	pieces := []string{"a", "\x00", "\n", "\"", "€", "😀", "\xe2\x82", "\xff", "\xf0\x9f", "\u2028", "<", "\uFFFD"}
	for range 3000 {
		text := func() string {
			var b strings.Builder
			for range random.IntN(60) {
				b.WriteString(pieces[random.IntN(len(pieces))])
			}
			return b.String()
		}
		stdout, stderr, limit := text(), text(), 70+random.IntN(300)
		o := fitOutput(random.IntN(256), tailOf(limit, stdout), tailOf(limit, stderr), limit)
		encoded := o.Encode()
		if len(encoded) > limit {
			t.Fatalf("%d bytes for a limit of %d: %s", len(encoded), limit, encoded)
		}
		var back ExecOutput
		if err := json.Unmarshal(encoded, &back); err != nil || back != o {
			t.Fatalf("%s comes back as %+v, %v", encoded, back, err)
		}
		// Replacing what is not UTF-8 is all that may happen to what is kept.
		if whole := string([]rune(stdout)); !strings.HasSuffix(whole, o.Stdout) {
			t.Fatalf("%q is no end of %q", o.Stdout, whole)
		}
		if o.Truncated && len(encoded) < limit-12 {
			t.Fatalf("truncated to %d bytes with a limit of %d", len(encoded), limit)
		}
	}
}
