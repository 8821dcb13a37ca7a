package runner

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/drover-run/drover/registry"
)

// Kind is a kind of process whose input is an In and whose output is an Out,
// both written as JSON. Declare it once, as a package variable; who starts
// processes and who handles them share it.
type Kind[In, Out any] struct {
	name        string
	disposition registry.Disposition
	options     []HandleOption
}

// NewKind declares a kind. The name is what etcd knows it by; the disposition
// says what recovery may do to its processes; the options are those of
// [Mux.Handle].
func NewKind[In, Out any](name string, d registry.Disposition, opts ...HandleOption) Kind[In, Out] {
	return Kind[In, Out]{name: name, disposition: d, options: opts}
}

// Name is what etcd knows the kind by.
func (k Kind[In, Out]) Name() string { return k.name }

// Handle adds the handler of this kind to the mux; see [Mux.Handle] for when
// it panics. An input that can't be decoded into an In fails the process
// without a retry.
func (k Kind[In, Out]) Handle(m *Mux, h func(ctx context.Context, a *Attempt, in In) (Out, error)) {
	if h == nil {
		panic(fmt.Sprintf("runner: the handler of kind %s is nil", k.name))
	}
	handler := HandlerFunc(func(ctx context.Context, a *Attempt) (any, error) {
		var in In
		if input := a.Input(); len(input) > 0 {
			if err := json.Unmarshal(input, &in); err != nil {
				return nil, Fail(fmt.Errorf("decode the input: %w", err))
			}
		}
		return h(ctx, a, in)
	})
	m.Handle(k.name, k.disposition, handler, k.options...)
}

// Start makes a process of this kind durable. Errors are those of
// [registry.Registry.Start], and encoding/json's if in can't be encoded.
func (k Kind[In, Out]) Start(ctx context.Context, on Starter, in In, opts ...registry.StartOption) (Ref[Out], error) {
	input, err := registry.Encode(in)
	if err != nil {
		return Ref[Out]{}, fmt.Errorf("start a process of kind %s: encode the input: %w", k.name, err)
	}
	var h handling
	for _, o := range k.options {
		o(&h)
	}
	spec := registry.Spec{Kind: k.name, Disposition: k.disposition, Input: input, MaxAdoptions: h.maxAdoptions}
	started, err := on.Start(ctx, spec.With(opts...))
	if err != nil {
		return Ref[Out]{}, err
	}
	return Ref[Out]{id: started.ID, on: on, existing: started.Existing}, nil
}

// Ref returns a reference to a process of this kind that was started before,
// here or elsewhere. It asks nothing of etcd.
func (k Kind[In, Out]) Ref(on Starter, id string) Ref[Out] { return Ref[Out]{id: id, on: on} }
