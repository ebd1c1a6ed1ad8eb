package lobby

import (
	"fmt"
	"slices"
	"testing"
)

func TestAFloodThrowsOutItself(t *testing.T) {
	l := New(4)
	var out []string
	enter := func(remote string) (leave func(), evicted bool) {
		return l.Enter(remote, func() { out = append(out, remote) })
	}
	leaveGood, _ := enter("10.0.0.1:1")
	for i := range 10 {
		_, evicted := enter(fmt.Sprintf("10.9.9.9:%d", i))
		if want := i >= 3; evicted != want {
			t.Errorf("entry %d: evicted %v", i, evicted)
		}
	}
	if want := []string{"10.9.9.9:0", "10.9.9.9:1", "10.9.9.9:2", "10.9.9.9:3", "10.9.9.9:4", "10.9.9.9:5", "10.9.9.9:6"}; !slices.Equal(out, want) {
		t.Errorf("thrown out %v", out)
	}
	if l.Taken() != 4 {
		t.Errorf("%d places taken", l.Taken())
	}
	leaveGood()
	leaveGood()
	if l.Taken() != 3 {
		t.Errorf("%d places taken after leaving twice", l.Taken())
	}
}

func TestLeavingAfterBeingThrownOut(t *testing.T) {
	l := New(1)
	first, _ := l.Enter("a:1", func() {})
	second, evicted := l.Enter("a:2", func() {})
	if !evicted {
		t.Fatal("nobody was thrown out")
	}
	first()
	if l.Taken() != 1 {
		t.Error("who was thrown out gave back the place of another")
	}
	second()
	if l.Taken() != 0 {
		t.Error("the place is not given back")
	}
}
