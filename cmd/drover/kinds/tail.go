package kinds

import "unicode/utf8"

// tail keeps the last bytes of what is written to it. It belongs to one goroutine at a time.
type tail struct {
	max  int
	buf  []byte // a ring once it has max bytes
	next int    // in the ring: where the oldest byte is, and the next one goes
	cut  bool   // something was dropped
}

// write keeps at most max bytes, and takes no more memory than that, nor before it needs it.
func (t *tail) write(p []byte) {
	if len(p) > t.max {
		p, t.cut = p[len(p)-t.max:], true
	}
	if room := t.max - len(t.buf); room > 0 {
		n := min(room, len(p))
		t.buf = append(t.buf, p[:n]...)
		p = p[n:]
	}
	if len(p) == 0 {
		return
	}
	t.cut = true
	n := copy(t.buf[t.next:], p)
	copy(t.buf, p[n:])
	t.next = (t.next + len(p)) % t.max
}

// bytes returns what was kept, oldest first, without the rest of a character whose beginning was dropped.
func (t *tail) bytes() []byte {
	kept := append(append(make([]byte, 0, len(t.buf)), t.buf[t.next:]...), t.buf[:t.next]...)
	if t.cut {
		for i := 0; i < utf8.UTFMax-1 && len(kept) > 0 && !utf8.RuneStart(kept[0]); i++ {
			kept = kept[1:]
		}
	}
	return kept
}

// last returns the end of what was kept as text of at most size bytes.
func (t *tail) last(size int) string {
	text, _ := suffix(t.bytes(), size, func(r rune, _ bool) int { return utf8.RuneLen(r) })
	return text
}
