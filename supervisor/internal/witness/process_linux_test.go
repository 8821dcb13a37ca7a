package witness

import (
	"os"
	"testing"
)

func TestParseStat(t *testing.T) {
	const rest = " 34816 7 4194304 1 2 3 4 5 6 7 8 20 0 "
	tests := map[string]struct {
		stat string
		want Process
	}{
		"running":             {"12 (sh) S 3 45 6" + rest + "1 0 777 9 9", Process{PID: 12, Parent: 3, Group: 45, Start: 777}},
		"a name of its own":   {"12 (a) Z 1 (b)) R 3 45 6" + rest + "1 0 777 9 9", Process{PID: 12, Parent: 3, Group: 45, Start: 777}},
		"a zombie":            {"12 (sh) Z 3 45 6" + rest + "1 0 777 9 9", Process{PID: 12, Parent: 3, Group: 45, Start: 777, Dead: true}},
		"being removed":       {"12 (sh) X 3 45 6" + rest + "0 0 777 9 9", Process{PID: 12, Parent: 3, Group: 45, Start: 777, Dead: true}},
		"without main thread": {"12 (sh) Z 3 45 6" + rest + "2 0 777 9 9", Process{PID: 12, Parent: 3, Group: 45, Start: 777}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseStat([]byte(tt.stat))
			if err != nil || got != tt.want {
				t.Errorf("parseStat: %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	for _, stat := range []string{"", "12 (sh", "12 (sh) S 3", "x (sh) S 3 45 6" + rest + "1 0 777 9"} {
		if p, err := parseStat([]byte(stat)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", stat, p)
		}
	}
}

func TestLookSeesOurselves(t *testing.T) {
	p, err := Look(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.PID != os.Getpid() || p.Parent != os.Getppid() || p.Dead || p.Start == 0 {
		t.Errorf("Look: %+v", p)
	}
	if _, err := Look(1 << 30); err == nil {
		t.Error("Look found a process that can't be")
	}
}
