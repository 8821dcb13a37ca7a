package e2e

import (
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestTheTableOfPromisesNamesTestsThatExist: README.md says which test holds which promise.
func TestTheTableOfPromisesNamesTestsThatExist(t *testing.T) {
	table, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err = fs.WalkDir(os.DirFS(".."), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile("../" + path)
		for _, found := range declared.FindAllSubmatch(text, -1) {
			there[string(found[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(table, -1)
	if len(named) < 50 {
		t.Errorf("README.md names %d tests", len(named))
	}
	for _, name := range named {
		if !there[string(name[1])] {
			t.Errorf("README.md names %s, which does not exist", name[1])
		}
	}
	for _, m := range mutants {
		if !strings.Contains(string(table), "| "+m.name+" |") {
			t.Errorf("README.md does not say that %s", m.name)
		}
	}
}
