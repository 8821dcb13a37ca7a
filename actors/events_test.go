package actors

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/asynkron/protoactor-go/actor"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func TestSubscriberThatBlocksDoesNotFillMemory(t *testing.T) {
	inBubble(t, func(t *testing.T, system *actor.ActorSystem) {
		release := make(chan struct{})
		var mu sync.Mutex
		var got []string
		system.EventStream.Subscribe(func(event any) {
			<-release
			mu.Lock()
			defer mu.Unlock()
			switch m := event.(type) {
			case *ProcessEnded:
				got = append(got, m.ID)
			case *NodeEnded:
				got = append(got, "node")
			}
		})
		logs, seen := observer.New(zapcore.WarnLevel)
		e := NewEvents(system, zap.New(logs))
		e.Publish(&ProcessEnded{ID: "first"})
		synctest.Wait() // it is with the subscriber
		for i := range 12_000 {
			e.Publish(&ProcessEnded{ID: fmt.Sprint(i)})
		}
		e.Publish(&NodeEnded{}) // never left out
		close(release)
		e.Flush(t.Context())
		mu.Lock()
		defer mu.Unlock()
		if n := len(got); n != 10_002 || got[0] != "first" || got[1] != "0" || got[n-2] != "9999" || got[n-1] != "node" {
			t.Errorf("%d events, want 10002: the first ones, and the node's end", n)
		}
		var told []string
		for _, entry := range seen.All() {
			told = append(told, entry.Message)
		}
		if len(told) != 2 || seen.All()[1].ContextMap()["count"] != int64(2000) {
			t.Errorf("logged %v, want that 2000 were left out", seen.All())
		}
	})
}
