package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// long is what CI sets: more of everything, for minutes instead of seconds.
var long = flag.Bool("long", false, "run the long versions of the tests")

// binary is the program under test, built once.
var binary string

func TestMain(m *testing.M) {
	if config := os.Getenv(memberVariable); config != "" {
		fmt.Fprintln(os.Stderr, memberMain(config)) // it does not return while all is well
		os.Exit(1)
	}
	if os.Getenv(reaperVariable) != "" {
		reaperMain()
		os.Exit(0)
	}
	if config := os.Getenv(programVariable); config != "" {
		if err := programMain(config); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	flag.Parse()
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(testMain(m))
}

// prepare sees to it that settings of whoever runs the tests don't decide what they find, and that they are done in
// time: most of them wait more than they work.
func prepare() error {
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "DROVER_") {
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0))))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "drover-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "drover")
	build := exec.Command("go", "build", "-o", binary, "../cmd/drover")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build drover: %v\n%s", err, out)
		return 1
	}
	// A drover that was killed leaves the directory of its socket behind.
	if err := os.Setenv("TMPDIR", dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
