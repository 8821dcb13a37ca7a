package e2e

import (
	"context"
	"flag"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var mutations = flag.Bool("mutations", false, "break drover in known ways, in a copy, and see that a test fails")

// mutation is a fault of ours, and the test that must find it.
type mutation struct {
	name, file string // the file from the root
	find, put  string // find stands there just once
	test       string // in the file's package
}

var mutants = []mutation{
	{
		name: "an end does not compare the fence",
		file: "registry/end.go",
		find: "t.held(h, next.ID, next.Fence)", put: "h.alive",
		test: "TestCompleteRejectsStaleFence",
	}, {
		name: "no write compares the session",
		file: "registry/transition.go",
		find: "return append([]clientv3.Cmp{asRead(t.k.claim(h.sid, id), fence)}, h.alive...)",
		put:  "return []clientv3.Cmp{asRead(t.k.claim(h.sid, id), fence)}",
		test: "TestCompleteRejectsStaleFence",
	}, {
		name: "what is given back does not compare the request",
		file: "registry/requeue.go",
		find: "append(t.held(h, next.ID, next.Fence), absent(request))", put: "t.held(h, next.ID, next.Fence)",
		test: "TestNothingIsPutBackBesideARequest",
	}, {
		name: "a batch holds two transitions of one process",
		file: "registry/batch.go",
		find: " || b.ids[m.tr.id]", put: "",
		test: "TestABatchHoldsOneTransitionOfEachProcess",
	}, {
		name: "the local deadline is ignored",
		file: "lease/deadline.go",
		find: "return max(ttl/10, minMargin)", put: "return -time.Hour",
		test: "TestSilenceEndsTheTenureAtItsDeadline",
	}, {
		name: "nothing is read back after an answer was lost",
		file: "registry/commit.go",
		find: "resp.Succeeded || tr.applied(v)", put: "resp.Succeeded",
		test: "TestEveryTransitionSurvivesEveryFault",
	}, {
		name: "what is not found is taken for not written",
		file: "registry/commit.go",
		find: "unanswered = err // what etcd said tells more than that time is up\n\t\t}\n",
		put: `unanswered = err
		}
		if resp, failed := r.client.Txn(ctx).Then(tr.otherwise...).Commit(); failed == nil {
			v := newView(resp.Responses)
			return answer{applied: tr.applied(v), view: v, resp: resp}, nil
		}
`,
		test: "TestEveryTransitionSurvivesEveryFault",
	}, {
		name: "a poke that comes after the list is taken for served",
		file: "actors/drives.go",
		find: `	d.bell.owed.Store(false)
	if d.startup.Swap(false) {
		reason = runner.Startup
	}
	go func() {
		defer expire()
		defer cancel(nil)
		done := d.pass(ctx, reason)
`,
		put: `	if d.startup.Swap(false) {
		reason = runner.Startup
	}
	go func() {
		defer expire()
		defer cancel(nil)
		done := d.pass(ctx, reason)
		d.bell.owed.Store(false)
`,
		test: "TestPokeAfterListIsNotLost",
	},
}

// TestMutationsAreCaught breaks a copy of the tree in one way at a time. The test that is named for it must fail then,
// and pass as long as nothing is broken.
func TestMutationsAreCaught(t *testing.T) {
	if !*mutations {
		t.Skip("-mutations runs it")
	}
	dir := t.TempDir()
	if err := copyTree(dir, ".."); err != nil {
		t.Fatal(err)
	}
	tests := map[string][]string{} // by package
	for _, m := range mutants {
		pkg := "./" + filepath.ToSlash(filepath.Dir(m.file))
		if !slices.Contains(tests[pkg], m.test) {
			tests[pkg] = append(tests[pkg], m.test)
		}
	}
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		if out, err := testIn(t, dir, pkg, strings.Join(tests[pkg], "|")); err != nil {
			t.Fatalf("%s, with nothing broken: %v\n%s", pkg, err, out)
		}
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			file := filepath.Join(dir, filepath.FromSlash(m.file))
			was, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(string(was), m.find); n != 1 {
				t.Fatalf("%s has %q %d times, want once", m.file, m.find, n)
			}
			defer func() {
				if err := os.WriteFile(file, was, 0o600); err != nil {
					t.Error(err)
				}
			}()
			if err := os.WriteFile(file, []byte(strings.Replace(string(was), m.find, m.put, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := testIn(t, dir, "./"+filepath.ToSlash(filepath.Dir(m.file)), m.test)
			if err == nil || !strings.Contains(out, "--- FAIL: "+m.test+" ") {
				t.Errorf("%s does not find it: %v\n%s", m.test, err, out)
			}
		})
	}
}

// testIn runs tests of a package in another tree.
func testIn(t *testing.T, dir, pkg, tests string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "test", "-count=1", "-timeout=3m", "-run", "^("+tests+")$", pkg)
	cmd.Dir = dir
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// copyTree copies what a build needs.
func copyTree(to, from string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		switch {
		case entry.IsDir() && rel != "." && strings.HasPrefix(entry.Name(), "."):
			return fs.SkipDir
		case entry.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case !entry.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}
