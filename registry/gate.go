package registry

import (
	"encoding/json"
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// gate is a queue's state as read: claims are conditioned on its revision.
type gate struct {
	revision int64
	paused   bool
	corrupt  error // why it can't be read
}

// readGate reads the state of a queue; nil is one that nobody ever paused.
func readGate(kv *mvccpb.KeyValue) gate {
	if kv == nil {
		return gate{}
	}
	var state struct {
		Paused bool `json:"paused"`
	}
	// One that can't be read pauses its queue: not to claim is safe.
	g := gate{revision: kv.ModRevision, paused: true}
	if err := json.Unmarshal(kv.Value, &state); err != nil {
		g.corrupt = &CorruptError{Key: string(kv.Key), Why: fmt.Errorf("the queue counts as paused: %w", err)}
		return g
	}
	g.paused = state.Paused
	return g
}
