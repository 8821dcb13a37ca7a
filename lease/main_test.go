package lease

import (
	"os"
	"testing"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		child()
	}
	etcdtest.Main(m)
}
