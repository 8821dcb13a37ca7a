package registry

import (
	"flag"
	"testing"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestMain(m *testing.M) {
	// Random transactions against etcd take most of the time; -rapid.checks
	// on the command line still has the last word.
	if err := flag.Set("rapid.checks", "30"); err != nil {
		panic(err)
	}
	etcdtest.Main(m)
}
