package lease

import (
	"encoding/json"
	"os"
	"testing"
)

// The fields are on disk in etcd, where other versions read them.
func TestIdentityIsWrittenWithTheseNames(t *testing.T) {
	got, err := json.Marshal(Identity{Host: "h", BootID: "b", PIDNamespace: "n", PID: 7, StartTime: 9})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"host":"h","boot_id":"b","pid_namespace":"n","pid":7,"start_time":9}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestSelfIsNotGone(t *testing.T) {
	self := Self()
	if self.PID != os.Getpid() {
		t.Errorf("process %d, want %d", self.PID, os.Getpid())
	}
	if evidence, gone := self.Gone(); gone {
		t.Errorf("gone, on this evidence: %s", evidence)
	}
}

func TestOfRefusesWhatIsNoProcess(t *testing.T) {
	for _, pid := range []int{-1, 0, 1 << 30} {
		if i, err := Of(pid); err == nil {
			t.Errorf("Of(%d) = %+v, want an error", pid, i)
		}
	}
}
