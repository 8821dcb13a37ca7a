package main

import (
	"maps"
	"slices"
	"testing"
)

func TestServedQueues(t *testing.T) {
	names, limits, err := servedQueues([]string{"default", "slow=4"})
	if err != nil || !slices.Equal(names, []string{"default", "slow"}) || !maps.Equal(limits, map[string]int{"slow": 4}) {
		t.Errorf("%v, %v, %v", names, limits, err)
	}
	for _, wrong := range [][]string{{"a", "a"}, {"a", "a=2"}} {
		if _, _, err := servedQueues(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}
