package e2e

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	module       = "github.com/drover-run/drover"
	protoActor   = "github.com/asynkron/protoactor-go"
	maxFileLines = 400
)

// layers lists the packages from the bottom up, each with everything below its folder. A package imports its own layer
// and those before it. The test kit is a layer of its own, so that tests of lease can use it.
var layers = []string{"lease/etcdtest", "lease", "registry", "runner", "actors", "supervisor", "cmd", "e2e"}

// bans names packages that only some files may import. A package's subpackages are banned with it.
var bans = []struct {
	imported string
	allowed  func(source) bool
	why      string
}{
	{
		imported: protoActor,
		allowed:  func(s source) bool { return s.layer() >= slices.Index(layers, "actors") },
		why:      "lease, registry and runner know nothing of actors, so that they work, and are tested, without them",
	},
	{
		imported: protoActor + "/remote",
		allowed:  func(s source) bool { return within(s.dir(), "e2e/host") },
		why: "it has no authentication, and its decoder panics on types it does not know: " +
			"whether a program listens for actors elsewhere is its author's decision, not ours",
	},
	{
		imported: protoActor + "/cluster",
		allowed:  nowhere,
		why:      "etcd is the cluster; a second opinion on who is alive can only disagree with it",
	},
	{
		imported: "go.etcd.io",
		allowed:  func(s source) bool { return !within(s.dir(), "actors") },
		why:      "actors reach etcd through registry and lease, which alone know the layout and the guards",
	},
	{
		imported: "go.etcd.io/etcd/server/v3",
		allowed:  func(s source) bool { return within(s.dir(), "cmd") || s.testing() },
		why:      "whoever uses the library must not have to link an etcd server: only commands, tests and test kits embed one",
	},
}

// topLevel is all that stands in the root of the repository, besides what .gitignore names.
var topLevel = []string{
	".ci", ".git", ".gitignore", ".golangci.yml",
	"ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md",
	"go.mod", "go.sum",
	"actors", "cmd", "docs", "e2e", "lease", "registry", "runner", "supervisor",
}

func TestImportsPointDown(t *testing.T)                   { holds(t, importsPointDown) }
func TestRestrictedPackagesStayInTheirPlace(t *testing.T) { holds(t, importsAllowed) }
func TestTestKitsAreImportedByTestsOnly(t *testing.T)     { holds(t, testKitsInTestsOnly) }
func TestEveryPackageCommentStandsInDocGo(t *testing.T)   { holds(t, commentsInDocGo) }
func TestFilesStayShort(t *testing.T)                     { holds(t, filesStayShort) }
func TestTestsDoNotSleep(t *testing.T)                    { holds(t, testsDoNotSleep) }
func TestRootHoldsOnlyWhatWasAgreed(t *testing.T)         { holds(t, rootAsAgreed) }

// What is banned everywhere but in examples and tests must not come along with something else either.
func TestNothingThatIsInstalledLinksProtoActorsRemote(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "./lease", "./registry", "./runner", "./actors", "./supervisor", "./cmd/...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	linked := strings.Fields(string(out))
	if !slices.Contains(linked, protoActor+"/actor") {
		t.Fatalf("%s does not name %s/actor, which is linked", list, protoActor)
	}
	for _, imported := range linked {
		if within(imported, protoActor+"/remote") || within(imported, protoActor+"/cluster") {
			t.Errorf("%s is linked, by way of a package that is not ours", imported)
		}
	}
}

// A rule returns what it finds wrong with a tree, each with the reason why the rule is there.
type rule func(tree) problems

type problems []string

func (p *problems) addf(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

func importsPointDown(tr tree) (found problems) {
	order := strings.Join(layers, " <- ")
	for _, s := range tr.sources {
		if s.layer() < 0 {
			found.addf("%s is in no layer: a package has its place in %s, so that its imports can be judged", s.path, order)
			continue
		}
		for _, imported := range s.imports {
			target, ours := cutModule(imported)
			if !ours || layerOf(target) >= 0 && layerOf(target) <= s.layer() {
				continue
			}
			found.addf("%s imports %s: imports point down, in %s, so that each package can be read, used and tested "+
				"without those above it", s.path, target, order)
		}
	}
	return found
}

func importsAllowed(tr tree) (found problems) {
	for _, s := range tr.sources {
		for _, imported := range s.imports {
			for _, ban := range bans {
				if within(imported, ban.imported) && !ban.allowed(s) {
					found.addf("%s imports %s: %s", s.path, imported, ban.why)
				}
			}
		}
	}
	return found
}

func testKitsInTestsOnly(tr tree) (found problems) {
	for _, s := range tr.sources {
		for _, imported := range s.imports {
			target, ours := cutModule(imported)
			if ours && isTestKit(target) && !s.testing() {
				found.addf("%s imports %s: a test kit brings an etcd server along, which no library may link", s.path, target)
			}
		}
	}
	return found
}

func commentsInDocGo(tr tree) (found problems) {
	documented := map[string]bool{} // by folder
	for _, s := range tr.sources {
		if s.isTest() || s.generated {
			continue
		}
		base := path.Base(s.path)
		home := base == "doc.go" || s.pkg == "main" && base == "main.go"
		documented[s.dir()] = documented[s.dir()] || home && s.comment != ""

		switch begin := "Package " + s.pkg + " "; {
		case s.comment == "":
		case !home:
			found.addf("%s has a package comment: it belongs into doc.go, where readers look; go doc glues several together", s.path)
		case s.pkg != "main" && !strings.HasPrefix(s.comment, begin):
			found.addf("%s does not begin with %q: so go doc and its readers know what they see", s.path, begin)
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			found.addf("%s has no package comment in doc.go: there a reader looks for what the package owns, "+
				"what it promises and what it does not", dir)
		}
	}
	return found
}

func filesStayShort(tr tree) (found problems) {
	for _, s := range tr.sources {
		if s.lines > maxFileLines && !s.isTest() && !s.generated {
			found.addf("%s has %d lines: a file is about one noun, mostly in under 300 lines and never in more than %d",
				s.path, s.lines, maxFileLines)
		}
	}
	return found
}

func testsDoNotSleep(tr tree) (found problems) {
	for _, s := range tr.sources {
		if !s.isTest() || slices.Contains(s.imports, "testing/synctest") {
			continue
		}
		for _, line := range s.sleeps {
			found.addf("%s:%d sleeps: too short on a slow machine and too long on a fast one; "+
				"use testing/synctest, wait for a signal, or ask again until a deadline", s.path, line)
		}
	}
	return found
}

func rootAsAgreed(tr tree) (found problems) {
	for _, name := range tr.root {
		ignored := slices.ContainsFunc(tr.ignored, func(pattern string) bool {
			matched, err := path.Match(pattern, name)
			return matched && err == nil
		})
		switch {
		case strings.HasSuffix(name, ".go"):
			found.addf("%s is a Go file in the root: each package has a folder, and a name that says what it is", name)
		case !slices.Contains(topLevel, name) && !ignored:
			found.addf("%s is not among what stands in the root: the listing is the table of contents; put it into a "+
				"package's folder, or argue for it in topLevel (or in .gitignore, if a program makes it)", name)
		}
	}
	return found
}

// holds fails the test with each problem that the rule finds in the repository.
func holds(t *testing.T, r rule) {
	t.Helper()
	tr, err := repository()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range r(tr) {
		t.Error(problem)
	}
}

// repository reads the files through the os package, so that go test's cache notices when they change.
var repository = sync.OnceValues(func() (tree, error) {
	mod, err := os.ReadFile("../go.mod")
	if err != nil {
		return tree{}, err
	}
	if !bytes.HasPrefix(mod, []byte("module "+module+"\n")) {
		return tree{}, fmt.Errorf("go.mod does not begin with module %s: no rule here would recognise an import", module)
	}
	return readTree(os.DirFS(".."))
})

// tree is what the rules judge.
type tree struct {
	root    []string // names of the entries of the root
	ignored []string // patterns of .gitignore
	sources []source // all Go files, also those that no build on this system would take
}

type source struct {
	path      string // from the root, with slashes
	pkg       string
	comment   string // of the package
	imports   []string
	generated bool
	lines     int
	sleeps    []int // lines that call time.Sleep
}

func (s source) dir() string  { return path.Dir(s.path) }
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }
func (s source) layer() int   { return layerOf(s.dir()) }

// testing reports whether only test binaries link this file.
func (s source) testing() bool { return s.isTest() || isTestKit(s.dir()) }

// isTestKit follows the standard library's habit: httptest, iotest, fstest.
func isTestKit(dir string) bool { return within(dir, "e2e") || strings.HasSuffix(dir, "test") }

func nowhere(source) bool { return false }

func layerOf(dir string) int {
	return slices.IndexFunc(layers, func(layer string) bool { return within(dir, layer) })
}

// within reports whether p is the folder or the import path parent, or below it.
func within(p, parent string) bool { return p == parent || strings.HasPrefix(p, parent+"/") }

// cutModule returns the folder of a package of this module.
func cutModule(imported string) (dir string, ours bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

func readTree(fsys fs.FS) (tree, error) {
	var tr tree
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return tree{}, err
	}
	for _, entry := range entries {
		tr.root = append(tr.root, entry.Name())
	}
	// The few forms of pattern that ours has: names and globs, with or without slashes around them.
	ignore, err := fs.ReadFile(fsys, ".gitignore")
	if err == nil {
		for line := range strings.Lines(string(ignore)) {
			tr.ignored = append(tr.ignored, strings.Trim(strings.TrimSpace(line), "/"))
		}
	}
	err = fs.WalkDir(fsys, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := entry.Name()
		if entry.IsDir() && name != "." && (base == "testdata" || base[0] == '.' || base[0] == '_') {
			return fs.SkipDir // as the go command does
		}
		if entry.IsDir() || !strings.HasSuffix(base, ".go") {
			return nil
		}
		s, err := readSource(fsys, name)
		tr.sources = append(tr.sources, s)
		return err
	})
	return tr, err
}

func readSource(fsys fs.FS, name string) (source, error) {
	text, err := fs.ReadFile(fsys, name)
	if err != nil {
		return source{}, err
	}
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{
		path:      name,
		pkg:       f.Name.Name,
		comment:   f.Doc.Text(), // without directives
		generated: ast.IsGenerated(f),
		lines:     bytes.Count(text, []byte("\n")),
	}
	for _, spec := range f.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		s.imports = append(s.imports, imported)
	}
	for node := range ast.Preorder(f) {
		if sel, ok := node.(*ast.SelectorExpr); ok && sel.Sel.Name == "Sleep" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "time" {
				s.sleeps = append(s.sleeps, files.Position(sel.Pos()).Line)
			}
		}
	}
	return s, nil
}
