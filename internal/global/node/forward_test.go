package node

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Strangers' tokens cannot have a member ask the leader more than once a second, and
// who comes while it asks gets that answer.
func TestRefreshesAreShared(t *testing.T) {
	synctest.Test(t, refreshesAreShared) // the second of its clock is no slow machine's
}

func refreshesAreShared(t *testing.T) {
	var f refreshing
	var asked atomic.Int32
	begun, answer := make(chan struct{}), make(chan struct{})
	catchUp := func(context.Context) bool {
		if asked.Add(1) == 1 {
			close(begun)
		}
		<-answer
		return true
	}
	var wait sync.WaitGroup
	var ok atomic.Int32
	ask := func() {
		if f.do(t.Context(), catchUp) {
			ok.Add(1)
		}
	}
	wait.Go(ask)
	<-begun
	for range 20 {
		wait.Go(ask)
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if f.do(gone, catchUp) {
		t.Error("somebody who has left got an answer")
	}
	close(answer)
	wait.Wait()
	for range 20 {
		ask() // within the second
	}
	// Those of the 20 that came after the answer were turned away, too.
	if asked.Load() != 1 || ok.Load() < 1 {
		t.Errorf("the leader was asked %d times, %d got the answer", asked.Load(), ok.Load())
	}
}

// TestCatchingUpBeginsAfterWhoAsks: nobody gets the answer of a question that was under way
// when they came, all who come meanwhile share the next one, and who leaves waits for none.
func TestCatchingUpBeginsAfterWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := catching{turn: make(chan struct{}, 1)}
		var asked atomic.Int32
		answer := make(chan struct{})
		catchUp := func() bool {
			n := asked.Add(1)
			<-answer
			return n == 2
		}
		var wait sync.WaitGroup
		var ok atomic.Int32
		ask := func() {
			if c.do(t.Context(), catchUp) {
				ok.Add(1)
			}
		}
		wait.Go(ask)
		synctest.Wait() // its question is under way
		for range 20 {
			wait.Go(ask)
		}
		synctest.Wait()
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		if c.do(gone, catchUp) {
			t.Error("somebody who has left got an answer")
		}
		close(answer)
		wait.Wait()
		if asked.Load() != 2 || ok.Load() != 20 {
			t.Errorf("%d questions, and %d got the answer of the second", asked.Load(), ok.Load())
		}
	})
}
