package registry

import (
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxForeign bounds the operations of a caller's own, together with which a row
// and its output must fit through a client, whose limit is 2 MiB: what a client
// refuses to send is not told from what was not answered. etcd refuses less by
// itself, 1.5 MiB by default.
const maxForeign = 1 << 20

// CheckOps says whether operations of the caller's own can go with a
// transaction of drover's: they must not touch its keys, else the error wraps
// [ErrInvalid]. More than 1 MiB of keys and values is a [*TooLargeError].
func (r *Registry) CheckOps(ops ...clientv3.Op) error { return r.keys.foreignTo(nil, ops) }

// foreignTo refuses what touches the keys of the registry: conditions and
// writes of a user's are for his own.
func (k keys) foreignTo(conditions []clientv3.Cmp, ops []clientv3.Op) error {
	for i := range conditions {
		c := conditions[i].GetCompare()
		if k.touches(c.Key, c.RangeEnd) {
			return fmt.Errorf("%w: a condition on %q, which is drover's own", ErrInvalid, c.Key)
		}
	}
	size := 0
	for _, op := range ops {
		size += len(op.KeyBytes()) + len(op.ValueBytes())
		if op.IsTxn() {
			return fmt.Errorf("%w: an operation that is a transaction itself", ErrInvalid)
		}
		if k.touches(op.KeyBytes(), op.RangeBytes()) {
			return fmt.Errorf("%w: an operation on %q, which is drover's own", ErrInvalid, op.KeyBytes())
		}
	}
	if size > maxForeign {
		return &TooLargeError{What: "transaction", Size: size, Max: maxForeign}
	}
	return nil
}

// touches says whether the range from key to end, or key alone if there is
// none, has a key of the registry's in it.
func (k keys) touches(key, end []byte) bool {
	from, to := string(key), string(end)
	switch to {
	case "":
		return strings.HasPrefix(from, k.root)
	case "\x00": // everything from key on
		return from < upTo(k.root)
	default:
		return from < upTo(k.root) && to > k.root
	}
}
