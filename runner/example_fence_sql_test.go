//go:build cgo

package runner_test

import (
	"context"
	"database/sql"
	"fmt"

	_ "github.com/mattn/go-sqlite3"

	"github.com/drover-run/drover/registry"
	"github.com/drover-run/drover/runner"
)

type Report struct{ Month string }

var MakeReport = runner.NewKind[Report, string]("report.make", registry.Rerunnable)

// save writes the report if no later attempt has written it. The row keeps
// the highest fence that it has seen; a lower one changes nothing. An attempt may
// write more than once, as its fence stays the same.
func save(db *sql.DB, a *runner.Attempt, month, body string) (saved bool, err error) {
	result, err := db.Exec(`UPDATE reports SET body = ?, fence = ? WHERE month = ? AND fence <= ?`,
		body, a.Fence(), month, a.Fence())
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n == 1, err
}

// A handler that goes on after its claim was lost, as its machine was frozen
// for a minute, must not undo what the next attempt wrote. etcd refuses its
// outcome; the fence lets a database refuse its writes as well.
func Example_fenceSQL() {
	ctx := context.Background()
	db, err := sql.Open("sqlite3", "file:reports?mode=memory&cache=shared")
	if err != nil {
		panic(err)
	}
	defer db.Close()
	if _, err := db.Exec(`CREATE TABLE reports (month TEXT PRIMARY KEY, body TEXT, fence INTEGER NOT NULL DEFAULT 0);
		INSERT INTO reports (month) VALUES ('2024-05')`); err != nil {
		panic(err)
	}

	frozen, thaw, late := make(chan struct{}), make(chan struct{}), make(chan bool)
	mux := runner.NewMux()
	MakeReport.Handle(mux, func(_ context.Context, a *runner.Attempt, in Report) (string, error) {
		if a.Number() == 1 {
			close(frozen)
			<-thaw
		}
		saved, err := save(db, a, in.Month, fmt.Sprint("written by attempt ", a.Number()))
		if a.Number() == 1 {
			late <- saved
		}
		return a.Node(), err
	})
	_, reg, end := open()
	defer end()
	one := join(reg, "node-1", mux)
	ref, err := MakeReport.Start(ctx, reg, Report{Month: "2024-05"})
	if err != nil {
		panic(err)
	}
	<-frozen
	one.crash() // its session ends, its handler does not
	two := join(reg, "node-2", mux)
	defer two.stop()
	fmt.Println(ref.Wait(ctx))

	close(thaw)
	fmt.Println("attempt 1 saved:", <-late)
	var body string
	if err := db.QueryRow(`SELECT body FROM reports`).Scan(&body); err != nil {
		panic(err)
	}
	fmt.Println("the report:", body)
	// Output:
	// node-2 <nil>
	// attempt 1 saved: false
	// the report: written by attempt 2
}
