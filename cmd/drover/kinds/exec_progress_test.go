package kinds

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTapCountsText(t *testing.T) {
	for name, tt := range map[string]struct {
		writes []string
		want   StreamProgress
	}{
		"nothing":                {nil, StreamProgress{}},
		"text":                   {[]string{"ab", "c€"}, StreamProgress{6, "abc€"}},
		"half a character":       {[]string{"a\xe2\x82"}, StreamProgress{1, "a"}},
		"its other half":         {[]string{"a\xe2\x82", "\xacb"}, StreamProgress{5, "a€b"}},
		"in three":               {[]string{"\xf0\x9f", "\x98", "\x80"}, StreamProgress{4, "😀"}},
		"not UTF-8":              {[]string{"\xff", "a\xe2", "b"}, StreamProgress{8, "\uFFFDa\uFFFDb"}},
		"more than a tail":       {[]string{"a" + repeat("b", 4096)}, StreamProgress{4097, repeat("b", 4096)}},
		"no character is cut":    {[]string{"€" + repeat("b", 4095)}, StreamProgress{4098, repeat("b", 4095)}},
		"nor in two writes":      {[]string{"€", repeat("b", 4095)}, StreamProgress{4098, repeat("b", 4095)}},
		"a long one, not UTF-8":  {[]string{repeat("\xff", 10_000)}, StreamProgress{30_000, repeat("\uFFFD", 1365)}},
		"long, and half of more": {[]string{repeat("b", 10_000) + "\xe2"}, StreamProgress{10_000, repeat("b", 4096)}},
	} {
		tap := tap{tail: tail{max: maxTail}, news: make(chan struct{}, 1)}
		for _, text := range tt.writes {
			if n, err := tap.Write([]byte(text)); n != len(text) || err != nil {
				t.Errorf("%s: %d, %v", name, n, err)
			}
		}
		if got := tap.progress(); got != tt.want {
			t.Errorf("%s: %d, %.40q, want %d, %.40q", name, got.Bytes, got.Tail, tt.want.Bytes, tt.want.Tail)
		}
	}
}

// However a stream comes, what is counted is the text that the output has of it in the end.
func TestTapAndOutputAgree(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	pieces := []string{"a", "\n", "€", "😀", "\xe2\x82", "\xff", "\xf0\x9f", "\x80", repeat("x", 1000), repeat("\x80", 1000), "\uFFFD"}
	for range 500 {
		tap := tap{tail: tail{max: maxTail}, news: make(chan struct{}, 1)}
		var stream strings.Builder
		for range random.IntN(20) {
			var piece strings.Builder
			for range random.IntN(8) {
				piece.WriteString(pieces[random.IntN(len(pieces))])
			}
			stream.WriteString(piece.String())
			if _, err := tap.Write([]byte(piece.String())); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := tap.Write([]byte(".")); err != nil { // what follows half a character shows that it was none
			t.Fatal(err)
		}
		want := fitOutput(0, tailOf(1<<20, stream.String()+"."), tailOf(0, ""), 1<<20).Stdout
		got := tap.progress()
		if got.Bytes != int64(len(want)) || !strings.HasSuffix(want, got.Tail) || !utf8.ValidString(got.Tail) || len(got.Tail) < min(len(want), maxTail-2) {
			t.Fatalf("%d bytes, a tail of %d, of a text of %d", got.Bytes, len(got.Tail), len(want))
		}
	}
}
