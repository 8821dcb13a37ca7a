package supervisor

import (
	"context"
	"fmt"
	"slices"
	"testing"
)

func TestWhatHasTheSameCauseIsOneSentence(t *testing.T) {
	var c complaints
	if got := c.sentences(); got == nil || len(got) != 0 {
		t.Errorf("without complaints: %#v, want an empty list", got)
	}
	away := fmt.Errorf("list: %w", context.DeadlineExceeded)
	c.add(why(away), "the session is not renewed since 1")
	c.add("", "one handler is stuck")
	c.add(why(away), "drives fail since 2")
	c.add("no room", "there is no witness")
	c.add("", "another is stuck")
	want := []string{
		"the session is not renewed since 1; drives fail since 2: etcd does not answer",
		"one handler is stuck", "another is stuck",
		"there is no witness: no room",
	}
	if got := c.sentences(); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
