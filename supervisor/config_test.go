package supervisor

import (
	"strings"
	"testing"
	"time"

	"github.com/drover-run/drover/registry"
)

func TestNewReportsAllFaultsOfConfig(t *testing.T) {
	_, err := New(Config{
		Node: "a/b", Name: "c d", Queues: []string{"q", "q", "no good"}, MaxRunning: -1,
		QueueLimits: map[string]int{"q": -1, "other": 1},
		TTL:         time.Millisecond, Poll: -1, ShutdownTimeout: -1,
	})
	if err == nil {
		t.Fatal("New accepted it")
	}
	for _, want := range []string{
		"Registry is required", "Mux is required", "Node: invalid", "Name: invalid", "Queues: invalid",
		"Queues: q is there twice", "QueueLimits: other is not one of Queues", "QueueLimits: -1 for q", "MaxRunning is -1", "TTL is 1ms", "Poll is -1ns", "ShutdownTimeout is -1ns",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
}

func TestPollMustNotBeLongerThanTTL(t *testing.T) {
	c := Config{TTL: 2 * time.Second, Poll: 3 * time.Second}.withDefaults()
	if err := c.validate(); !strings.Contains(err.Error(), "Poll is 3s, which is more than the TTL of 2s") {
		t.Errorf("validate: %v", err)
	}
}

func TestDefaultNameOfNodeIsLegal(t *testing.T) {
	if err := registry.CheckName("node", hostName()); err != nil {
		t.Error(err)
	}
}
