package registry

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
)

const (
	defaultNamespace      = "drover"
	defaultMaxInput       = 64 << 10
	largestMaxInput       = 512 << 10
	defaultRequestTimeout = 5 * time.Second
)

// Options says how a Registry is opened. The zero value is usable.
type Options struct {
	// Namespace is the part of etcd that is used: every key stands under
	// /<Namespace>/v1/. 1 to 64 of A-Z a-z 0-9 . _ -; "drover" if empty.
	Namespace string

	// MaxInput limits a process's encoded input, and its output, in bytes:
	// 64 KiB if zero, 512 KiB at the most, so that a row, its input and its
	// output always fit into one request to etcd (1.5 MiB by default).
	MaxInput int

	// RequestTimeout bounds each single request to etcd; 5 s if zero. An
	// operation may take several requests, and repeats those that were not
	// answered until its context ends.
	RequestTimeout time.Duration

	// Logger gets what no caller can be told; none if nil.
	Logger *zap.Logger

	// Now is the wall clock for due times and for what people read; time.Now
	// if nil. No safety depends on it.
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	if o.Namespace == "" {
		o.Namespace = defaultNamespace
	}
	if o.MaxInput == 0 {
		o.MaxInput = defaultMaxInput
	}
	if o.RequestTimeout == 0 {
		o.RequestTimeout = defaultRequestTimeout
	}
	if o.Logger == nil {
		o.Logger = zap.NewNop()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func (o Options) validate() error {
	var errs []error
	if err := checkName("namespace", o.Namespace); err != nil {
		errs = append(errs, err)
	}
	if o.MaxInput < 0 || o.MaxInput > largestMaxInput {
		errs = append(errs, fmt.Errorf("MaxInput is %d bytes, it must be between 1 and %d", o.MaxInput, largestMaxInput))
	}
	if o.RequestTimeout < 0 {
		errs = append(errs, fmt.Errorf("RequestTimeout is %s, it must be positive", o.RequestTimeout))
	}
	return errors.Join(errs...)
}
