package registry

import (
	"errors"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/drover-run/drover/lease/etcdtest"
)

// allScenes are one for each transition at least.
func allScenes() map[string]scene {
	all := scenes()
	maps.Copy(all, wholeLifeScenes())
	maps.Copy(all, tendingScenes())
	return all
}

// shown says, by the beginning of its name, in which scene a transition is
// played.
var shown = map[string]string{
	"adopt ":                     "adopt",
	"ask to end ":                "request",
	"claim ":                     "claim",
	"clear that etcd is full":    "clear full",
	"deadline of ":               "deadline of what waits",
	"drop the deadline of ":      "drop deadline",
	"end ":                       "complete", // also "end p where it waits": cancel what waits
	"end detached session ":      "end detached session",
	"end orphan ":                "end orphan",
	"end session ":               "end session",
	"enroll session ":            "enroll",
	"forget ":                    "forget hint",
	"forget session ":            "forget session",
	"look after the claim on ":   "look after claim",
	"mark that etcd is full":     "mark full",
	"mature ":                    "mature",
	"open ":                      "reopen",
	"pause queue ":               "pause",
	"prune ":                     "prune",
	"record node ":               "record witness",
	"repair ":                    "repair",
	"requeue ":                   "retry",
	"requeue orphan ":            "requeue orphan",
	"resume queue ":              "resume",
	"start ":                     "start",
	"testify to the end of node": "testify",
	"transaction of ":            "transaction",
	"unclaim ":                   "unclaim",
	"write ":                     "progress",
}

// preceded are scenes in which the transition in question is not the first.
var preceded = map[string]int{"unclaim": 1, "look after claim": 1}

// idle are scenes whose transition is given up when etcd is out of space.
var idle = map[string]bool{
	"claim": true, "adopt": true, "requeue orphan": true,
	"mature": true, "deadline of what waits": true, "deadline of what runs": true, "drop deadline": true,
}

// TestEveryTransitionHasAScene looks for transitions in the source, so that a
// new one is not forgotten.
func TestEveryTransitionHasAScene(t *testing.T) {
	all := allScenes()
	found := map[string]bool{}
	for _, name := range transitionNames(t) {
		found[name] = true
		of, ok := "", false
		for begin, scene := range shown {
			if strings.TrimSpace(begin) == strings.TrimSpace(name) {
				of, ok = scene, true
			}
		}
		if !ok {
			t.Errorf("no scene shows the transition %q in every fault: write one, and name it in shown", name)
		} else if all[of] == nil {
			t.Errorf("there is no scene %q, which is said to show %q", of, name)
		}
	}
	if len(found) != len(shown) {
		t.Errorf("%d names of transitions in the source, %d in shown", len(found), len(shown))
	}
}

// transitionNames are the beginnings of all that the source names transitions.
func transitionNames(t *testing.T) (names []string) {
	t.Helper()
	files, err := os.ReadDir(".")
	noErr(t, err)
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), ".go") || strings.HasSuffix(file.Name(), "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file.Name(), nil, parser.SkipObjectResolution)
		noErr(t, err)
		for node := range ast.Preorder(parsed) {
			for _, value := range namesGiven(node) {
				names = append(names, leading(t, value))
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// namesGiven are what becomes a transition's name in this node: in a literal,
// or assigned later.
func namesGiven(node ast.Node) (values []ast.Expr) {
	switch n := node.(type) {
	case *ast.CompositeLit:
		if of, ok := n.Type.(*ast.Ident); !ok || of.Name != "transition" {
			return nil
		}
		for _, elt := range n.Elts {
			if kv, ok := elt.(*ast.KeyValueExpr); ok && kv.Key.(*ast.Ident).Name == "name" {
				values = append(values, kv.Value)
			}
		}
	case *ast.AssignStmt:
		for i, left := range n.Lhs {
			to, ok := left.(*ast.SelectorExpr)
			if !ok || to.Sel.Name != "name" || len(n.Rhs) != len(n.Lhs) {
				continue
			}
			if of, ok := to.X.(*ast.Ident); ok && of.Name == "tr" {
				values = append(values, n.Rhs[i])
			}
		}
	}
	return values
}

// leading is the string with which the expression begins.
func leading(t *testing.T, value ast.Expr) string {
	t.Helper()
	for {
		switch v := value.(type) {
		case *ast.BinaryExpr:
			value = v.X
		case *ast.BasicLit:
			s, err := strconv.Unquote(v.Value)
			noErr(t, err)
			return s
		default:
			t.Fatalf("the name of a transition begins with %T, want a string", value)
		}
	}
}

// everyError is what an answer can be turned into without telling that the
// request was not done: all codes, and what etcd itself says when it does not
// know.
func everyError() map[string]error {
	all := map[string]error{}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		all[code.String()] = status.Error(code, "turned into this on the way")
	}
	for name, err := range map[string]error{
		"no leader":         rpctypes.ErrGRPCNoLeader,
		"leader changed":    rpctypes.ErrGRPCLeaderChanged,
		"not leader":        rpctypes.ErrGRPCNotLeader,
		"stopped":           rpctypes.ErrGRPCStopped,
		"timeout":           rpctypes.ErrGRPCTimeout,
		"leader failed":     rpctypes.ErrGRPCTimeoutDueToLeaderFail,
		"connection lost":   rpctypes.ErrGRPCTimeoutDueToConnectionLost,
		"wait applied":      rpctypes.ErrGRPCTimeoutWaitAppliedIndex,
		"unhealthy":         rpctypes.ErrGRPCUnhealthy,
		"corrupt":           rpctypes.ErrGRPCCorrupt,
		"no learner":        rpctypes.ErrGRPCMemberNotLearner,
		"too many requests": rpctypes.ErrGRPCRequestTooManyRequests,
		"no space":          rpctypes.ErrGRPCNoSpace,
		"not capable":       rpctypes.ErrGRPCNotCapable,
	} {
		all[name] = err
	}
	return all
}

// everyFault is what CI sets: it takes minutes. Without it, each scene has a
// share of the errors, and each error a share of the scenes.
var everyFault = flag.Bool("every-fault", false, "turn the answers of each transition into every error")

const shares = 7

// TestEveryTransitionSurvivesEveryFault: whatever happens to the request or to
// its answer, the method says what happened, and it happened once.
func TestEveryTransitionSurvivesEveryFault(t *testing.T) {
	all, errs := allScenes(), everyError()
	for n, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := stage{newWire(t), etcdtest.Client(t), name, all[name]}
			for fault, acts := range faults() {
				t.Run(fault, func(t *testing.T) { g.play(t, acts...) })
			}
			t.Run("a copy arrives when all is over", func(t *testing.T) {
				var m mail
				check := g.play(t, m.late)
				m.deliver()
				check(t)
			})
			for i, which := range slices.Sorted(maps.Keys(errs)) {
				if !*everyFault && i%shares != n%shares {
					continue
				}
				t.Run("the answer is turned into "+which, func(t *testing.T) { g.play(t, lose(errs[which])) })
			}
		})
	}
}

// stage is where a scene is played.
type stage struct {
	wire   *wire
	client *clientv3.Client // whose requests nothing happens to
	name   string
	scene  scene
}

// play plays the scene with these faults. What it returns looks once more
// whether it happened once.
func (s stage) play(t *testing.T, acts ...act) (check func(*testing.T)) {
	t.Helper()
	r := s.wire.registry(t)
	plain := registryOn(t, s.client, Options{})
	plain.keys, plain.table = r.keys, r.table
	call, check := s.scene(t, plain, r)
	for range preceded[s.name] {
		s.wire.nextWrites(func(send func() error) error { return send() })
	}
	s.wire.nextWrites(acts...)
	err := call()
	if idle[s.name] && errors.Is(err, ErrNoSpace) && errors.Is(err, ErrUnresolved) {
		err = nil // which is the truth: it may have happened
	}
	noErr(t, err)
	if n := s.wire.left(); n != 0 {
		t.Fatalf("%d faults were not played", n)
	}
	check(t)
	return check
}
