package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/drover-run/drover/lease/etcdtest"
	"github.com/drover-run/drover/registry"
)

// compress is what each process does: note the attempt, compress one file,
// and put the archive into its place whole. The pause makes sure that there
// is something in the middle to be killed.
const compress = `set -e
echo "$DROVER_PROCESS_ID $DROVER_ATTEMPT $DROVER_FENCE $DROVER_NODE" >>"$JOURNAL"
sleep 0.2 & wait
gzip -c "$1" >"$1.gz.$DROVER_FENCE"
mv "$1.gz.$DROVER_FENCE" "$1.gz"`

// mainJob is a directory of files to compress, and an etcd to do it by.
type mainJob struct {
	t        *testing.T
	dir      string
	journal  string
	sums     map[string][32]byte // by id
	client   *clientv3.Client
	endpoint string
	kills    map[string]bool // sessions that were killed
}

func TestMainJobSurvivesSIGKILL(t *testing.T) {
	files, kills := 200, 1
	if *long {
		files, kills = 1000, 4
	}
	server := etcdtest.New(t)
	j := &mainJob{
		t: t, dir: t.TempDir(), sums: map[string][32]byte{}, client: server.Client(t),
		endpoint: server.Endpoint(), kills: map[string]bool{},
	}
	j.journal = filepath.Join(j.dir, "journal")
	batch := j.makeFiles(files)
	nodes := []*program{j.node("n1"), j.node("n2")}
	out, errs, code := j.drover(batch, "start", "--batch", "-")
	if ids := strings.Fields(out); code != 0 || len(ids) != files {
		t.Fatalf("started %d of %d, exit code %d: %s", len(ids), files, code, errs)
	}
	for round := range kills {
		eventually(t, "the middle", func() bool { return j.count("completed") > files*(round+1)/(kills+2) })
		victim := round % 2
		name := fmt.Sprintf("n%d", victim+1)
		j.murder(name, nodes[victim])
		nodes[victim] = j.node(name)
	}
	eventually(t, "all to complete", func() bool { return j.count("completed") == files })
	j.verify(files)
}

// makeFiles writes files of many sizes and returns the batch that compresses
// them. The content is random, but the same in each run.
func (j *mainJob) makeFiles(n int) (batch string) {
	j.t.Helper()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not for secrets
	var lines strings.Builder
	for i := range n {
		id := fmt.Sprintf("file/%04d", i)
		content := make([]byte, 1<<(i%20)+random.IntN(100))
		if i%17 == 0 {
			content = nil // an empty file is a file
		}
		for k := range content {
			content[k] = byte(random.UintN(16))
		}
		path := filepath.Join(j.dir, fmt.Sprintf("%04d", i))
		if err := os.WriteFile(path, content, 0o600); err != nil {
			j.t.Fatal(err)
		}
		j.sums[id] = sha256.Sum256(content)
		line, err := json.Marshal(map[string]any{"id": id, "kind": "exec", "input": map[string]any{
			"argv": []string{"sh", "-c", compress, "compress", path},
			"env":  map[string]string{"JOURNAL": j.journal, "MAIN_JOB": j.dir},
		}})
		if err != nil {
			j.t.Fatal(err)
		}
		lines.Write(append(line, '\n'))
	}
	return lines.String()
}

func (j *mainJob) node(name string) *program {
	p := launch(j.t, "serve", "--endpoints", j.endpoint, "--node", name, "--allow", "exec", "--ttl", "2s", "--max-running", "4")
	p.says("ready node=" + name + " ")
	return p
}

func (j *mainJob) drover(stdin string, args ...string) (string, string, int) {
	return drover(j.t, stdin, append(args, "--endpoints", j.endpoint)...)
}

func (j *mainJob) count(status string) int {
	return len(processes(j.t, "list", "--endpoints", j.endpoint, "--status", status, "--limit", "10000"))
}

// murder kills a node while it runs something, and sees to it that all that
// it had started is gone.
func (j *mainJob) murder(name string, p *program) {
	j.t.Helper()
	var sid string
	eventually(j.t, name+" to run something", func() bool {
		for _, r := range processes(j.t, "list", "--endpoints", j.endpoint, "--status", "running", "--limit", "10000") {
			if r.Claim.Node == name {
				sid = r.Claim.Session
				return true
			}
		}
		return false
	})
	p.kill()
	j.kills[sid] = true
	// The others of this name are gone before the next one is started.
	eventually(j.t, "what "+name+" had started to be gone", func() bool {
		return !slices.ContainsFunc(survivors(j.t, "MAIN_JOB="+j.dir), func(s string) bool {
			return slices.Contains(survivors(j.t, "DROVER_NODE="+name), s)
		})
	})
}

// verify holds everything against what was promised.
func (j *mainJob) verify(files int) {
	j.t.Helper()
	all := processes(j.t, "list", "--endpoints", j.endpoint, "--full", "--limit", "10000")
	if len(all) != files {
		j.t.Fatalf("%d processes, want %d", len(all), files)
	}
	outcomes, attempts := j.outcomes(), j.attempts()
	lost := 0
	for _, p := range all {
		if p.Status != registry.StatusCompleted || outcomes[p.ID] != 1 {
			j.t.Errorf("%s: %s, %d outcomes", p.ID, p.Status, outcomes[p.ID])
		}
		lost += j.explain(p, attempts[p.ID])
		if got := j.sumOfArchive(p.ID); got != j.sums[p.ID] {
			j.t.Errorf("%s: the archive decompresses to something else", p.ID)
		}
	}
	if lost == 0 {
		j.t.Error("no attempt was lost: the kill hit nothing")
	}
	j.t.Logf("%d files, %d kills, %d attempts lost by them", files, len(j.kills), lost)
	if s := survivors(j.t, "MAIN_JOB="+j.dir); len(s) != 0 {
		j.t.Errorf("still running: %q", s)
	}
}

// explain checks that each attempt but the last was lost by a kill, and that
// the journal knows of no attempt that the row does not.
func (j *mainJob) explain(p registry.Process, journal []string) (lost int) {
	lost = len(p.History) - 1
	if p.Attempt != len(p.History) || p.Errors != 0 || p.Adoptions != lost || lost > len(j.kills) {
		j.t.Errorf("%s: attempt %d, errors %d, adoptions %d, history %+v", p.ID, p.Attempt, p.Errors, p.Adoptions, p.History)
	}
	known := map[string]bool{}
	for i, past := range p.History {
		known[fmt.Sprintf("%s %d %d %s", p.ID, past.Attempt, past.Fence, past.Node)] = true
		if last := i == lost; last == (past.Error == "session lost") || i > 0 && past.Fence <= p.History[i-1].Fence {
			j.t.Errorf("%s: history %+v", p.ID, p.History)
		}
	}
	for _, line := range journal {
		if !known[line] {
			j.t.Errorf("the journal has %q, which the row of %s does not explain: %+v", line, p.ID, p.History)
		}
	}
	if len(journal) == 0 || len(journal) > len(p.History) {
		j.t.Errorf("%s: %d attempts in the journal, %d in the row", p.ID, len(journal), len(p.History))
	}
	return lost
}

// outcomes counts what was ever written as an end, by id.
func (j *mainJob) outcomes() map[string]int {
	j.t.Helper()
	resp, err := j.client.Get(j.t.Context(), "/drover/v1/done/", clientv3.WithPrefix())
	if err != nil {
		j.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, kv := range resp.Kvs {
		var hint struct {
			Ended []struct {
				ID string `json:"id"`
			} `json:"ended"`
		}
		if err := json.Unmarshal(kv.Value, &hint); err != nil {
			j.t.Fatal(err)
		}
		for _, e := range hint.Ended {
			counts[e.ID]++
		}
	}
	return counts
}

// attempts are the lines of the journal, by id.
func (j *mainJob) attempts() map[string][]string {
	j.t.Helper()
	content, err := os.ReadFile(j.journal)
	if err != nil {
		j.t.Fatal(err)
	}
	byID := map[string][]string{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		id, _, _ := strings.Cut(lines.Text(), " ")
		byID[id] = append(byID[id], lines.Text())
	}
	return byID
}

func (j *mainJob) sumOfArchive(id string) (sum [32]byte) {
	j.t.Helper()
	f, err := os.Open(filepath.Join(j.dir, strings.TrimPrefix(id, "file/")+".gz"))
	if err != nil {
		j.t.Fatal(err)
	}
	archive, err := gzip.NewReader(f)
	if err != nil {
		j.t.Fatal(errors.Join(err, f.Close()))
	}
	h := sha256.New()
	_, err = io.Copy(h, archive)
	if err = errors.Join(err, f.Close()); err != nil {
		j.t.Fatal(err)
	}
	copy(sum[:], h.Sum(nil))
	return sum
}
