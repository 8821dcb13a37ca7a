package runner

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-run/drover/registry"
)

func TestOrphansThatAreKeptAreLookedAtAgainWhereNobodyTells(t *testing.T) {
	for name, test := range map[string]struct {
		corrupt, asked bool
		what           string
		soon, later    bool // whether it is passed over then
	}{
		"no request":          {soon: true, later: true},
		"a cancel request":    {asked: true, soon: true, later: false},
		"an abandon":          {asked: true, what: registry.RequestAbandon},
		"a deadline":          {asked: true, what: registry.RequestDeadline},
		"not readable":        {corrupt: true, soon: true, later: false},
		"not readable, asked": {corrupt: true, asked: true, what: registry.RequestAbandon, soon: true, later: false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, o := &Runner{kept: map[string]kept{}}, registry.Orphan{ID: "x"}
				if r.isKept(o, test.asked, test.what) {
					t.Error("passed over before anybody looked at it")
				}
				if !r.keep(o, test.corrupt) || r.keep(o, test.corrupt) {
					t.Error("it must be new once")
				}
				<-time.After(59 * time.Second)
				if got := r.isKept(o, test.asked, test.what); got != test.soon {
					t.Errorf("passed over after 59 s: %t", got)
				}
				<-time.After(time.Second)
				if got := r.isKept(o, test.asked, test.what); got != test.later {
					t.Errorf("passed over after a minute: %t", got)
				}
			})
		})
	}
}
