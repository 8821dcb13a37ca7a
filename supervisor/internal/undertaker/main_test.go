package undertaker

import (
	"testing"

	"github.com/drover-run/drover/lease/etcdtest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }
