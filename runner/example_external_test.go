package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

type Batch struct{ Rows int }

// A process of this kind is submitted to a cluster, which goes on with it.
var Train = runner.NewKind[Batch, string]("model.train", registry.Rerunnable)

// An external process is run by nobody here: whoever has the authority ends
// it. A handler can hand its process off, so that it becomes one.
func Example_external() {
	ctx := context.Background()
	mux := runner.NewMux()
	Train.Handle(mux, func(_ context.Context, _ *runner.Attempt, in Batch) (string, error) {
		reference := map[string]any{"cluster": "gpu-1", "rows": in.Rows} // what the cluster answered
		return "", runner.HandOff(reference, "gpu-1")
	})
	reg, stop := serve(mux)
	defer stop()

	// A human's decision, as a durable process.
	_, err := reg.Start(ctx, registry.Spec{
		ID: "approve/7", Kind: "invoice.approve", Disposition: registry.External, Authority: "accounting",
	})
	if err != nil {
		panic(err)
	}
	yes := registry.ExternalEnd{Outcome: registry.Completed, Output: json.RawMessage(`{"approved":true}`)}
	err = reg.EndExternal(ctx, "approve/7", "sales", yes)
	fmt.Println("sales may:", !errors.Is(err, registry.ErrAuthority))
	if err := reg.EndExternal(ctx, "approve/7", "accounting", yes); err != nil {
		panic(err)
	}
	p, err := reg.Wait(ctx, "approve/7")
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Status, string(p.Output), "by", p.Evidence.By)

	ref, err := Train.Start(ctx, reg, Batch{Rows: 1000}, registry.ID("train/1"))
	if err != nil {
		panic(err)
	}
	parked := waitFor(ctx, reg, ref.ID(), registry.StatusParked)
	fmt.Println(parked.Status, string(parked.Reference))
	// The cluster calls back.
	err = reg.EndExternal(ctx, ref.ID(), "gpu-1", registry.ExternalEnd{
		Outcome: registry.Completed, Output: json.RawMessage(`"s3://models/1"`),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(ref.Wait(ctx))
	// Output:
	// sales may: false
	// completed {"approved":true} by accounting
	// parked {"cluster":"gpu-1","rows":1000}
	// s3://models/1 <nil>
}
