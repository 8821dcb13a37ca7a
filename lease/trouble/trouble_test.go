package trouble_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/drover-run/drover/lease/trouble"
)

func TestTroubleIsLoggedWhenItBeginsAndWhenItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.DebugLevel)
		tr := trouble.New(zap.New(core), "it fails", "it works")
		tr.Note(nil)
		begun := time.Now()
		for range 5 {
			tr.Note(errors.New("boom"), zap.String("what", "x"))
			time.Sleep(time.Second)
		}
		if now, ok := tr.Now(); !ok || now.Failed != 5 || !now.Since.Equal(begun) || now.Err.Error() != "boom" {
			t.Errorf("in trouble: %+v, %v", now, ok)
		}
		tr.Note(nil)
		tr.Note(nil)
		if now, ok := tr.Now(); ok {
			t.Errorf("over, and still in trouble: %+v", now)
		}
		tr.NoteSince(begun, errors.New("again"))
		all := logs.TakeAll()
		if len(all) != 3 || all[0].Message != "it fails" || all[1].Message != "it works" || all[2].Message != "it fails" {
			t.Fatalf("logged %+v, want three lines: fails, works, fails", all)
		}
		if f := all[0].ContextMap(); f["why"] != "boom" || f["what"] != "x" || f["since"] == nil {
			t.Errorf("the first line has %v", f)
		}
		if f := all[1].ContextMap(); f["failed"] != int64(5) || f["for"] != 5*time.Second {
			t.Errorf("the second line has %v", f)
		}
		if now, _ := tr.Now(); !now.Since.Equal(begun) {
			t.Errorf("since %v, want %v", now.Since, begun)
		}
	})
}

func TestWordsExplainEtcd(t *testing.T) {
	const away, denied = "etcd does not answer", "etcd refused permission: check the user, its password and its roles"
	for _, test := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{errors.New("boom"), "boom"},
		{rpctypes.ErrNoSpace, "etcd is out of space and refuses writes: make room, then disarm its alarm"},
		{fmt.Errorf("claim p: %w", rpctypes.ErrNoLeader), "etcd has no leader: a majority of its members is away or cut off"},
		{rpctypes.ErrPermissionDenied, denied},
		{rpctypes.ErrInvalidAuthToken, denied},
		{context.DeadlineExceeded, away},
		{fmt.Errorf("renew: %w", status.Error(codes.Unavailable, "connection refused")), away},
		{status.Error(codes.Unauthenticated, "who are you"), denied},
		{errors.Join(errors.New("x"), rpctypes.ErrCompacted), "etcd has dropped the history that was to be read"},
	} {
		if got := trouble.Words(test.err); got != test.want {
			t.Errorf("Words(%v) = %q, want %q", test.err, got, test.want)
		}
	}
}
