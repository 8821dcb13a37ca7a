package registry

import (
	"encoding/json"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// gate is a queue's state as read: claims are conditioned on its revision.
type gate struct {
	revision int64
	paused   bool
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
	err := json.Unmarshal(kv.Value, &state)
	return gate{revision: kv.ModRevision, paused: err != nil || state.Paused}
}
