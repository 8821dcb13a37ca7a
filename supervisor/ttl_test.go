package supervisor_test

import (
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// The least that etcd grants is 2 s, unless its election timeout is another.
func TestTTLThatEtcdRaisesIsSaid(t *testing.T) {
	t.Parallel()
	const said = "etcd grants no TTL as short as was asked for, so others take over that much later"
	for asked, want := range map[time.Duration]int{time.Second: 1, 2 * time.Second: 0} {
		r := newRanch(t)
		core, logs := observer.New(zap.WarnLevel)
		c := r.config()
		c.TTL, c.Logger = asked, zap.New(core)
		r.start(c)
		lines := logs.FilterMessage(said).All()
		if len(lines) != want {
			t.Fatalf("a TTL of %s: it was said %d times, want %d", asked, len(lines), want)
		}
		for _, line := range lines {
			if f := line.ContextMap(); f["asked"] != time.Second || f["granted"] != 2*time.Second {
				t.Errorf("it says %v", f)
			}
		}
	}
}
