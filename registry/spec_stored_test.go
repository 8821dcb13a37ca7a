package registry

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// Two starts with one id are one process if their specs are equal. Times and
// defaults that are spelled out make no difference, everything else does.
func TestSpecsAreEqualButForTimesAndDefaults(t *testing.T) {
	plain := Spec{ID: "p", Kind: "k", Disposition: Rerunnable, Labels: map[string]string{"a": "1", "b": "2"}}
	hash := func(s Spec) string {
		t.Helper()
		e, err := encodeSpec(s, 1000)
		noErr(t, err)
		return e.spec.Hash
	}
	for name, same := range map[string]Spec{
		"a due time":             plain.With(At(time.Now().Add(time.Hour))),
		"a delay":                plain.With(After(time.Hour)),
		"labels in another way":  plain.With(Label("b", "2"), Label("a", "1")),
		"the default queue":      plain.With(Queue("default")),
		"the default priority":   plain.With(Priority(1)),
		"the default attempts":   plain.With(MaxAttempts(10)),
		"the default backoff":    plain.With(Backoff(time.Second)),
		"the default adoptions":  plain.With(MaxAdoptions(3)),
		"no limits spelled out":  plain.With(AttemptTimeout(0), Deadline(0)),
		"an input with no value": plain.With(input("")),
	} {
		if hash(same) != hash(plain) {
			t.Errorf("%s makes another spec", name)
		}
	}
	seen := map[string]string{hash(plain): "plain"}
	for name, other := range map[string]Spec{
		"another label":         plain.With(Label("a", "2")),
		"one more label":        plain.With(Label("c", "")),
		"no labels":             {ID: "p", Kind: "k", Disposition: Rerunnable},
		"owner-bound":           {ID: "p", Kind: "k", Disposition: OwnerBound, Labels: plain.Labels},
		"external":              {ID: "p", Kind: "k", Disposition: External, Labels: plain.Labels},
		"external, of somebody": {ID: "p", Kind: "k", Disposition: External, Labels: plain.Labels, Authority: "them"},
		"an attempt timeout":    plain.With(AttemptTimeout(time.Minute)),
		"a deadline":            plain.With(Deadline(time.Minute)),
		"a constant backoff":    plain.With(ConstantBackoff(time.Second)),
		"one adoption":          plain.With(MaxAdoptions(1)),
		"any adoptions":         plain.With(MaxAdoptions(NeverQuarantined)),
		"another priority":      plain.With(Priority(0)),
		"an input":              plain.With(input("null")),
	} {
		h := hash(other)
		if was, taken := seen[h]; taken {
			t.Errorf("%s and %s are the same spec", name, was)
		}
		seen[h] = name
	}
	if hash(plain.With(input(`{ "a" : 1 }`))) != hash(plain.With(input(`{"a":1}`))) {
		t.Error("white space in the input makes another spec")
	}
}

func TestLabelOptionsLeaveSharedSpecsAlone(t *testing.T) {
	shared := Spec{Labels: map[string]string{"a": "1"}}
	one, two := shared.With(Label("b", "2")), shared.With(Label("a", "3"))
	if len(shared.Labels) != 1 || shared.Labels["a"] != "1" || one.Labels["b"] != "2" || two.Labels["a"] != "3" {
		t.Errorf("shared %v, one %v, two %v", shared.Labels, one.Labels, two.Labels)
	}
}

func TestWhatASpecCannotSay(t *testing.T) {
	plain := Spec{ID: "p", Kind: "k", Disposition: Rerunnable}
	many := plain
	for i := range 33 {
		many = many.With(Label("l"+strings.Repeat("x", i), ""))
	}
	for name, s := range map[string]Spec{
		"no disposition":           {ID: "p", Kind: "k"},
		"another disposition":      {ID: "p", Kind: "k", Disposition: "maybe"},
		"a delay and a due time":   plain.With(After(time.Second), At(time.Now())),
		"a negative delay":         plain.With(After(-time.Second)),
		"a negative deadline":      plain.With(Deadline(-1)),
		"a negative timeout":       plain.With(AttemptTimeout(-1)),
		"another backoff policy":   {ID: "p", Kind: "k", Disposition: Rerunnable, BackoffPolicy: "linear"},
		"fewer than any adoptions": plain.With(MaxAdoptions(-2)),
		"too many labels":          many,
		"a label without a name":   plain.With(Label("", "x")),
		"a label of spaces":        plain.With(Label("a b", "x")),
		"a label too long":         plain.With(Label("a", strings.Repeat("x", 256))),
		"a label of two lines":     plain.With(Label("a", "x\ny")),
		"an authority of spaces":   {ID: "p", Kind: "k", Disposition: External, Authority: "a b"},
	} {
		if err := s.Validate(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := plain.With(Label("a", strings.Repeat("x", 255)), MaxAdoptions(-1), Authority("")).Validate(); err != nil {
		t.Error(err)
	}
}
