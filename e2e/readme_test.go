package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// block is the first code block of the README in a language that matches.
func block(t *testing.T, language, match string) string {
	t.Helper()
	blocks := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(readFile(t, "../README.md"), -1)
	for _, b := range blocks {
		if strings.Contains(b[1], match) {
			return b[1]
		}
	}
	t.Fatalf("README.md has no block of %s with %q", language, match)
	return ""
}

func TestFirstCommandOfTheREADMEWorks(t *testing.T) {
	t.Parallel()
	first, _, _ := strings.Cut(block(t, "sh", "go run"), "\n")
	const run = "go run ./cmd/drover run "
	if !strings.HasPrefix(first, run) {
		t.Fatalf("the README begins with %q", first)
	}
	// As it stands there, but for where the data goes.
	script := run + "--data-dir '" + t.TempDir() + "' " + strings.TrimPrefix(first, run)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
	cmd.Dir = ".."
	out, err := cmd.Output()
	if err != nil || string(out) != "hello\ndone\n" {
		t.Errorf("%s: %v, %q", script, err, out)
	}
}

func TestProgramOfTheREADMEIsTheTestedExample(t *testing.T) {
	t.Parallel()
	example := readFile(t, filepath.Join("..", "supervisor", "example_test.go"))
	_, rest, begins := strings.Cut(example, "// The README shows what stands from here to the example.\n")
	want, _, ends := strings.Cut(rest, "func Example()")
	if !begins || !ends {
		t.Fatal("example_test.go does not mark what the README shows")
	}
	if got := block(t, "go", "supervisor.Start"); strings.TrimSpace(got) != strings.TrimSpace(want) {
		t.Errorf("the README has\n%s\nand the example\n%s", got, want)
	}
}
