package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/drover-run/drover/registry"
)

// progressLog is what a progress wrote, and when.
type progressLog struct {
	begin time.Time
	lines []string
}

func (l *progressLog) write(_ context.Context, value json.RawMessage) error {
	l.lines = append(l.lines, fmt.Sprint(time.Since(l.begin), " ", string(value)))
	return nil
}

func (p *progress) say(t *testing.T, n int) {
	t.Helper()
	if err := p.set(json.RawMessage(fmt.Sprint(n))); err != nil {
		t.Error(err)
	}
}

func TestProgressIsWrittenOnceASecondTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &progressLog{begin: time.Now()}
		p := &progress{write: log.write}
		for n := range 8 {
			p.say(t, n)
			<-time.After(300 * time.Millisecond)
		}
		<-time.After(10 * time.Second) // the last one follows, and no other
		p.say(t, 8)                    // which is due at once
		<-time.After(100 * time.Millisecond)
		p.say(t, 9) // and this one is not
		p.say(t, 10)
		<-time.After(2 * time.Second)
		p.stop()
		want := []string{"0s 0", "1s 3", "2s 6", "3s 7", "12.4s 8", "13.4s 10"}
		if !slices.Equal(log.lines, want) {
			t.Errorf("wrote %q, want %q", log.lines, want)
		}
	})
}

func TestProgressThatIsNotWrittenWhenTheAttemptEndsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &progressLog{begin: time.Now()}
		p := &progress{write: log.write}
		p.say(t, 0)
		<-time.After(time.Millisecond)
		p.say(t, 1)
		p.stop()
		if err := p.set(json.RawMessage("2")); !errors.Is(err, registry.ErrClaimLost) {
			t.Errorf("set after the end: %v, want ErrClaimLost", err)
		}
		<-time.After(10 * time.Second)
		if want := []string{"0s 0"}; !slices.Equal(log.lines, want) {
			t.Errorf("wrote %q, want %q", log.lines, want)
		}
	})
}

// The outcome removes the progress, so none may be on its way then.
func TestTheEndOfAnAttemptWaitsForTheProgressThatIsBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		returned := false
		p := &progress{write: func(ctx context.Context, _ json.RawMessage) error {
			<-ctx.Done()              // it is told to give up,
			<-time.After(time.Second) // which takes its time
			returned = true
			return ctx.Err()
		}}
		p.say(t, 0)
		synctest.Wait()
		p.stop()
		if !returned {
			t.Error("stopped while something was being written")
		}
	})
}

func TestProgressTellsWhyTheLastOneCouldNotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []error{registry.ErrUnresolved, nil, registry.ErrClaimLost}
		p := &progress{write: func(context.Context, json.RawMessage) (err error) {
			err, answers = answers[0], answers[1:]
			return err
		}}
		var got []error
		for n := range 4 {
			got = append(got, p.set(json.RawMessage(fmt.Sprint(n))))
			<-time.After(2 * time.Second)
			if len(answers) == 0 {
				answers = []error{nil}
			}
		}
		if want := []error{nil, registry.ErrUnresolved, nil, registry.ErrClaimLost}; !slices.Equal(got, want) {
			t.Errorf("told %v, want %v", got, want)
		}
		p.stop()
	})
}
