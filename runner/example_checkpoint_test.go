package runner_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

type Import struct{ Rows int }

var ImportRows = runner.NewKind[Import, int]("rows.import", registry.Rerunnable,
	runner.WithPolicy(runner.Constant(time.Millisecond)))

func importRows(ctx context.Context, a *runner.Attempt, in Import) (int, error) {
	next := 0
	if _, err := a.Restore("next", &next); err != nil { // 0 in the first attempt
		return 0, err
	}
	fmt.Printf("attempt %d begins at row %d\n", a.Number(), next)
	for ; next < in.Rows; next++ {
		if a.Number() == 1 && next == 200 {
			return next, errors.New("the connection broke")
		}
		if next%100 != 0 {
			continue
		}
		if err := a.Checkpoint(ctx, "next", next); err != nil { // durable when it returns
			return next, err
		}
		if err := a.Progress(map[string]int{"row": next}); err != nil { // for people to see
			return next, err
		}
	}
	return next, nil
}

// What an attempt keeps is there for the next one, on whichever node, after an
// error as after a crash.
func Example_checkpoint() {
	ctx := context.Background()
	mux := runner.NewMux()
	ImportRows.Handle(mux, importRows)
	reg, stop := serve(mux)
	defer stop()

	ref, err := ImportRows.Start(ctx, reg, Import{Rows: 350})
	if err != nil {
		panic(err)
	}
	fmt.Println(ref.Wait(ctx))
	// Output:
	// attempt 1 begins at row 0
	// attempt 2 begins at row 100
	// 350 <nil>
}
