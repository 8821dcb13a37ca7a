package registry

import (
	"context"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestTxnWritesUnderTheClaim(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	a := join(t, r, "a")
	c := claim(t, r, a, "p")
	key := mine(r, "key")
	resp, err := r.Txn(t.Context(), c, []clientv3.Cmp{absent(key)}, put(key, "x"), get(key))
	noErr(t, err)
	if !resp.Succeeded || len(resp.Responses) != 2 || string(resp.Responses[1].GetResponseRange().Kvs[0].Value) != "x" {
		t.Errorf("the response is %+v", resp)
	}
	resp, err = r.Txn(t.Context(), c, []clientv3.Cmp{absent(key)}, put(key, "y"))
	noErr(t, err)
	if resp.Succeeded || len(resp.Responses) != 0 {
		t.Errorf("the response is %+v", resp)
	}
	wantOnce(t, r, key, "x")
	for range 2 { // of one kind after the other, and without any condition
		resp, err = r.Txn(t.Context(), c, nil, put(mine(r, "other"), "z"))
		noErr(t, err)
		if !resp.Succeeded {
			t.Errorf("the response is %+v", resp)
		}
	}
	leave(t, a)
	_, err = r.Txn(t.Context(), c, nil, put(key, "y"))
	wantErr(t, err, ErrClaimLost)
	b, err := r.Adopt(t.Context(), join(t, r, "b"), orphanOf(t, r, "p"), true)
	noErr(t, err)
	b.Enter()
	_, err = r.Txn(t.Context(), c, nil, put(key, "y"))
	wantErr(t, err, ErrClaimLost)
	wantOnce(t, r, key, "x")
	steps, err := r.Steps(t.Context(), b)
	noErr(t, err)
	if len(steps) > 0 {
		t.Errorf("the attempt sees steps that it never wrote: %v", steps)
	}
	noErr(t, r.Complete(t.Context(), b, nil))
	wantNothingLeft(t, r)
}

// Conditions and operations of a user's are for his own keys.
func TestNobodyElseTouchesKeysOfDrovers(t *testing.T) {
	r := newRegistry(t)
	start(t, r, "p")
	c := claim(t, r, join(t, r, "a"), "p")
	row := r.keys.process("p")
	before, after := r.keys.root[:len(r.keys.root)-1], r.keys.root[:len(r.keys.root)-1]+"0"
	for name, op := range map[string]clientv3.Op{
		"a put":                  put(row, "{}"),
		"a delete":               remove(r.keys.claim(c.Session.ID(), "p")),
		"a read":                 get(row),
		"a prefix":               clientv3.OpDelete(r.keys.root, clientv3.WithPrefix()),
		"a shorter prefix":       clientv3.OpDelete("/", clientv3.WithPrefix()),
		"a range across":         clientv3.OpDelete(before, clientv3.WithRange(after)),
		"a range within":         clientv3.OpDelete(r.keys.process("a"), clientv3.WithRange(r.keys.process("z"))),
		"everything from before": clientv3.OpDelete(before, clientv3.WithFromKey()),
		"everything":             clientv3.OpDelete("\x00", clientv3.WithFromKey()),
		"a transaction":          clientv3.OpTxn(nil, []clientv3.Op{remove(row)}, nil),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := r.Txn(t.Context(), c, nil, op)
			wantErr(t, err, ErrInvalid)
			wantErr(t, r.CompleteWith(t.Context(), c, nil, op), ErrInvalid)
			_, err = r.StartIf(t.Context(), Spec{ID: "q", Kind: "k", Disposition: Rerunnable}, nil, op)
			wantErr(t, err, ErrInvalid)
		})
	}
	for name, cmp := range map[string]clientv3.Cmp{
		"a key":    absent(row),
		"a prefix": clientv3.Compare(clientv3.CreateRevision(r.keys.root).WithPrefix(), "=", 0),
		"a range":  clientv3.Compare(clientv3.CreateRevision(before).WithRange(after), "=", 0),
	} {
		t.Run("a condition on "+name, func(t *testing.T) {
			_, err := r.Txn(t.Context(), c, []clientv3.Cmp{cmp}, put(mine(r, "key"), "x"))
			wantErr(t, err, ErrInvalid)
			_, err = r.StartIf(t.Context(), Spec{ID: "q", Kind: "k", Disposition: Rerunnable}, []clientv3.Cmp{cmp})
			wantErr(t, err, ErrInvalid)
		})
	}
	for _, key := range []string{before, after, after + "/x", mine(r, "key")} { // next to them
		_, err := r.Txn(t.Context(), c, nil, put(key, "x"))
		noErr(t, err)
	}
	_, err := r.client.Delete(t.Context(), before)
	noErr(t, err)
	wants(t, r, "p", StatusRunning, 1, 0, 0, 0)
}

// A transaction that was not answered is sent again, also when the first copy
// made its own condition false, and when others wrote the key since.
func TestATransactionHappensOnce(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	c := claim(t, r, join(t, r, "a"), "p")
	key := mine(r, "key")
	wire.nextWrites(func(send func() error) error {
		_ = send()
		if _, err := r.client.Delete(t.Context(), key); err != nil {
			t.Error(err)
		}
		return errTooLong
	})
	resp, err := r.Txn(t.Context(), c, []clientv3.Cmp{absent(key)}, put(key, "x"))
	noErr(t, err)
	if !resp.Succeeded {
		t.Errorf("the response is %+v", resp)
	}
	got, err := r.client.Get(t.Context(), key)
	noErr(t, err)
	if len(got.Kvs) != 0 {
		t.Errorf("it happened again: %v", got.Kvs)
	}
}

// A transaction that was given up may land late, once at the most, and does not
// keep the next one from happening.
func TestATransactionThatWasGivenUp(t *testing.T) {
	wire := newWire(t)
	r := wire.registry(t)
	start(t, r, "p")
	c := claim(t, r, join(t, r, "a"), "p")
	land := givenUp(t, wire, func(ctx context.Context) error {
		_, err := r.Txn(ctx, c, nil, put(mine(r, "first"), "x"))
		return err
	})
	noErr(t, land())
	noErr(t, land())
	wantOnce(t, r, mine(r, "first"), "x")
	_, err := r.Txn(t.Context(), c, nil, put(mine(r, "second"), "x"))
	noErr(t, err)
	wantOnce(t, r, mine(r, "second"), "x")
}

// A user's key moves if and only if the process completes.
func TestCompleteWithWritesIfItCompletes(t *testing.T) {
	r := newRegistry(t)
	for _, id := range []string{"p", "stale", "failed"} {
		start(t, r, id)
	}
	a := join(t, r, "a")
	c, stale := claim(t, r, a, "p"), claim(t, r, a, "stale")
	noErr(t, r.CompleteWith(t.Context(), c, []byte(`1`), put(mine(r, "p"), "x")))
	wants(t, r, "p", StatusCompleted, 1, 0, 0, 0)
	wantOnce(t, r, mine(r, "p"), "x")
	wantErr(t, r.CompleteWith(t.Context(), c, nil, put(mine(r, "p"), "y")), ErrClaimLost)
	wantOnce(t, r, mine(r, "p"), "x")
	leave(t, a)
	wantErr(t, r.CompleteWith(t.Context(), stale, nil, put(mine(r, "stale"), "x")), ErrClaimLost)
	got, err := r.client.Get(t.Context(), mine(r, "stale"))
	noErr(t, err)
	if len(got.Kvs) != 0 {
		t.Errorf("it moved: %v", got.Kvs)
	}
	wants(t, r, "stale", StatusOrphaned, 1, 0, 0, 0)
}
