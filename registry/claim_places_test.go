package registry

import (
	"errors"
	"testing"
	"time"
)

// wantCorrupt fails unless the error names the key.
func wantCorrupt(t *testing.T, err error, key string) {
	t.Helper()
	if corrupt, ok := errors.AsType[*CorruptError](err); !ok || corrupt.Key != key {
		t.Fatalf("the error is %v, want a corrupt %s", err, key)
	}
}

// A place that somebody put by hand must not get a process run that is run, or
// will be, from its own one.
func TestASecondPlaceIsNotClaimed(t *testing.T) {
	t.Run("beside a timer", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p", At(time.Now().Add(time.Hour)))
		key := r.keys.pending(rowOf(t, r, "p").entry())
		write(t, r, key, "{}")
		_, err := r.Claim(t.Context(), join(t, r, "n"), entryOf(t, r, "p"))
		wantCorrupt(t, err, key)
		wants(t, r, "p", StatusScheduled, 0, 0, 0, 0)
	})
	t.Run("beside another one", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p")
		e := rowOf(t, r, "p").entry()
		e.Priority = 0
		write(t, r, r.keys.pending(e), "{}")
		s := join(t, r, "n")
		_, err := r.Claim(t.Context(), s, pending(t, r)[0])
		wantCorrupt(t, err, r.keys.pending(e))
		if _, err := r.Claim(t.Context(), s, pending(t, r)[1]); err != nil {
			t.Errorf("its own place: %v", err)
		}
	})
	t.Run("beside a claim", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p")
		s := join(t, r, "n")
		c := claim(t, r, s, "p")
		key := r.keys.pending(rowOf(t, r, "p").entry())
		write(t, r, key, "{}")
		_, err := r.Claim(t.Context(), s, entryOf(t, r, "p"))
		wantCorrupt(t, err, key)
		noErr(t, r.Complete(t.Context(), c, nil))
	})
	t.Run("beside a claim of another node", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p")
		c := claim(t, r, join(t, r, "a"), "p")
		key := r.keys.pending(rowOf(t, r, "p").entry())
		write(t, r, key, "{}")
		b := join(t, r, "b")
		for range 2 { // also once it was put back
			_, err := r.Claim(t.Context(), b, entryOf(t, r, "p"))
			wantCorrupt(t, err, key)
		}
		noErr(t, r.Complete(t.Context(), c, nil))
	})
	t.Run("one that was returned is its own", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p")
		key := r.keys.process("p")
		sound := lookAtKey(t, r, key)
		write(t, r, key, "{cut")
		s := join(t, r, "n")
		_, err := r.Claim(t.Context(), s, entryOf(t, r, "p"))
		wantCorrupt(t, err, key)
		write(t, r, key, sound) // somebody repaired it
		claim(t, r, s, "p")
	})
	t.Run("one that has matured is its own", func(t *testing.T) {
		r := newRegistry(t)
		start(t, r, "p", At(time.Now().Add(time.Minute)))
		r.options.Now = func() time.Time { return time.Now().Add(time.Hour) }
		if n, _, err := r.Mature(t.Context(), 10); n != 1 || err != nil {
			t.Fatalf("matured %d, %v", n, err)
		}
		claim(t, r, join(t, r, "n"), "p")
	})
}

func rowOf(t *testing.T, r *Registry, id string) row {
	t.Helper()
	resp, err := r.read(t.Context(), get(r.keys.process(id)))
	noErr(t, err)
	there, ok := newView(resp.Responses).row(r.keys, id)
	if !ok {
		t.Fatalf("%s has no row", id)
	}
	return there
}

// What can't be read is named to whoever lists, and left as it is.
func TestUnreadableStateIsNamedAndLeft(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	queue, node := r.keys.queue("default"), r.keys.node("garbage")
	write(t, r, queue, "{cut")
	write(t, r, node, "xx")
	entries, _, err := r.Window([]string{"default"}, []string{"k"}).List(t.Context(), 10, nil)
	wantCorrupt(t, err, queue)
	if len(entries) != 0 {
		t.Errorf("listed %v of a queue whose state can't be read", entries)
	}
	_, err = r.Orphans(t.Context(), 10)
	wantCorrupt(t, err, node)
	if left := keysUnder(t, r, "node/"); len(left) != 1 || left[0] != "node/garbage" {
		t.Errorf("left are %v", left)
	}
}
