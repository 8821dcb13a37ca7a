package e2e

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// TestLayoutRulesReject shows each rule one fault: a rule that finds nothing in the repository might find nothing ever.
func TestLayoutRulesReject(t *testing.T) {
	const doc = "// Package registry is documented.\npackage registry\n"
	tests := map[string]struct {
		rule  rule
		files map[string]string
		want  []string // beginnings of the problems, in order; none: the files are fine
	}{
		"an import upwards": {
			rule:  importsPointDown,
			files: map[string]string{"registry/a.go": `package registry; import _ "` + module + `/runner"`},
			want:  []string{"registry/a.go imports runner:"},
		},
		"an import upwards from a test": {
			rule:  importsPointDown,
			files: map[string]string{"lease/a_test.go": `package lease_test; import _ "` + module + `/registry"`},
			want:  []string{"lease/a_test.go imports registry:"},
		},
		"an import upwards in a file of another system": {
			rule:  importsPointDown,
			files: map[string]string{"lease/a_plan9.go": "//go:build plan9\n\npackage lease\n" + `import _ "` + module + `/runner"`},
			want:  []string{"lease/a_plan9.go imports runner:"},
		},
		"a test kit that imports what it serves": {
			rule:  importsPointDown,
			files: map[string]string{"lease/etcdtest/a.go": `package etcdtest; import _ "` + module + `/lease"`},
			want:  []string{"lease/etcdtest/a.go imports lease:"},
		},
		"an import of e2e": {
			rule:  importsPointDown,
			files: map[string]string{"cmd/drover/a.go": `package main; import _ "` + module + `/e2e"`},
			want:  []string{"cmd/drover/a.go imports e2e:"},
		},
		"a package outside of the layers": {
			rule:  importsPointDown,
			files: map[string]string{"util/a.go": `package util`},
			want:  []string{"util/a.go is in no layer:"},
		},
		"imports downwards, skipping levels": {
			rule: importsPointDown,
			files: map[string]string{
				"supervisor/a.go":       `package supervisor; import (_ "` + module + `/lease"; _ "` + module + `/supervisor/witness")`,
				"actors/a_test.go":      `package actors; import _ "` + module + `/lease/etcdtest"`,
				"cmd/drover/etcd/a.go":  `package etcd; import _ "` + module + `/supervisor"`,
				"e2e/journal/a_test.go": `package journal; import _ "` + module + `/cmd/drover/etcd"`,
			},
		},
		"Proto.Actor below actors": {
			rule:  importsAllowed,
			files: map[string]string{"runner/a_test.go": `package runner; import _ "` + protoActor + `/actor"`},
			want:  []string{"runner/a_test.go imports " + protoActor + "/actor:"},
		},
		"Proto.Actor's remote": {
			rule:  importsAllowed,
			files: map[string]string{"supervisor/a.go": `package supervisor; import _ "` + protoActor + `/remote"`},
			want:  []string{"supervisor/a.go imports " + protoActor + "/remote:"},
		},
		"Proto.Actor's cluster providers": {
			rule:  importsAllowed,
			files: map[string]string{"cmd/drover/a.go": `package main; import _ "` + protoActor + `/cluster/clusterproviders/etcd"`},
			want:  []string{"cmd/drover/a.go imports " + protoActor + "/cluster/clusterproviders/etcd:"},
		},
		"etcd in actors": {
			rule:  importsAllowed,
			files: map[string]string{"actors/a_test.go": `package actors; import _ "go.etcd.io/etcd/client/v3"`},
			want:  []string{"actors/a_test.go imports go.etcd.io/etcd/client/v3:"},
		},
		"an etcd server in a library": {
			rule:  importsAllowed,
			files: map[string]string{"lease/a.go": `package lease; import _ "go.etcd.io/etcd/server/v3/embed"`},
			want:  []string{"lease/a.go imports go.etcd.io/etcd/server/v3/embed:"},
		},
		"restricted packages in their place": {
			rule: importsAllowed,
			files: map[string]string{
				"lease/a_test.go":      `package lease; import _ "go.etcd.io/etcd/server/v3/embed"`,
				"lease/etcdtest/a.go":  `package etcdtest; import _ "go.etcd.io/etcd/server/v3/embed"`,
				"cmd/drover/etcd/a.go": `package etcd; import _ "go.etcd.io/etcd/server/v3/embed"`,
				"actors/a.go":          `package actors; import _ "` + protoActor + `/actor"`,
				"lease/a.go":           `package lease; import _ "go.etcd.io/etcd/client/v3"`,
				"e2e/host/a.go":        `package main; import _ "` + protoActor + `/remote"`,
			},
		},
		"a test kit in a library": {
			rule:  testKitsInTestsOnly,
			files: map[string]string{"lease/a.go": `package lease; import _ "` + module + `/lease/etcdtest"`},
			want:  []string{"lease/a.go imports lease/etcdtest:"},
		},
		"a test kit in a test": {
			rule:  testKitsInTestsOnly,
			files: map[string]string{"lease/a_test.go": `package lease; import _ "` + module + `/lease/etcdtest"`},
		},
		"a package without a comment": {
			rule:  commentsInDocGo,
			files: map[string]string{"registry/a.go": "package registry\n"},
			want:  []string{"registry has no package comment in doc.go:"},
		},
		"a build constraint that looks like a comment": {
			rule:  commentsInDocGo,
			files: map[string]string{"registry/doc.go": "//go:build linux\npackage registry\n"},
			want:  []string{"registry has no package comment in doc.go:"},
		},
		"a package comment of another form": {
			rule:  commentsInDocGo,
			files: map[string]string{"registry/doc.go": "// All about rows.\npackage registry\n"},
			want:  []string{`registry/doc.go does not begin with "Package registry ":`},
		},
		"two package comments": {
			rule:  commentsInDocGo,
			files: map[string]string{"registry/a.go": doc, "registry/doc.go": doc},
			want:  []string{"registry/a.go has a package comment:"},
		},
		"a command that says what it is in main.go": {
			rule:  commentsInDocGo,
			files: map[string]string{"cmd/drover/main.go": "// Drover runs.\npackage main\n", "cmd/drover/a_test.go": "package main"},
		},
		"a long file": {
			rule:  filesStayShort,
			files: map[string]string{"registry/a.go": doc + strings.Repeat("\n", 399)},
			want:  []string{"registry/a.go has 401 lines:"},
		},
		"long files of tests and generators": {
			rule: filesStayShort,
			files: map[string]string{
				"registry/a.go":      doc + strings.Repeat("\n", 398),
				"registry/a_test.go": doc + strings.Repeat("\n", 999),
				"registry/a.pb.go":   "// Code generated by protoc-gen-go. DO NOT EDIT.\n\n" + doc + strings.Repeat("\n", 999),
			},
		},
		"a test that sleeps": {
			rule:  testsDoNotSleep,
			files: map[string]string{"registry/a_test.go": "package registry\nimport \"time\"\nfunc f() {\n\ttime.Sleep(1)\n}"},
			want:  []string{"registry/a_test.go:4 sleeps:"},
		},
		"a sleep in a bubble": {
			rule: testsDoNotSleep,
			files: map[string]string{
				"registry/a_test.go": `package registry; import ("testing/synctest"; "time"); func f() { time.Sleep(1) }`,
			},
		},
		"a Go file in the root": {
			rule:  rootAsAgreed,
			files: map[string]string{"drover.go": "package drover"},
			want:  []string{"drover.go is a Go file in the root:"},
		},
		"another folder in the root": {
			rule:  rootAsAgreed,
			files: map[string]string{"internal/a.go": "package internal"},
			want:  []string{"internal is not among what stands in the root:"},
		},
		"what git ignores": {
			rule: rootAsAgreed,
			files: map[string]string{
				".gitignore":    "# ours\n/drover\ndrover-data/\n*.out\n",
				"drover":        "",
				"drover-data/a": "",
				"c.out":         "",
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fsys := fstest.MapFS{}
			for file, text := range tt.files {
				fsys[file] = &fstest.MapFile{Data: []byte(text)}
			}
			tree, err := readTree(fsys)
			if err != nil {
				t.Fatal(err)
			}
			got := tt.rule(tree)
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("problems:\n\t%s\nwant beginnings:\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}
