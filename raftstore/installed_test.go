package raftstore

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/test/altered"
)

// TestAnInstalledSnapshotMeetsTheRules: a snapshot that another member sends, in which
// every checksum is right and one record is none that a command could have made, stops
// this member, and the end names the record.
func TestAnInstalledSnapshotMeetsTheRules(t *testing.T) {
	m := start(t, alone(t, t.TempDir(), testSeal(t))).awaitReady()
	good := snapshotBytes(t, m.fsm.current())
	all := altered.Records(t, good)
	for _, r := range all {
		if k := r.GetKey(); k.GetId().GetKind() == "user" {
			k.Serial++
		}
	}
	before := m.fsm.current()
	if err := m.fsm.Restore(io.NopCloser(bytes.NewReader(altered.Assemble(t, good, all)))); err == nil {
		t.Error("it was installed")
	}
	if m.fsm.current() != before {
		t.Error("something was taken over")
	}
	<-m.done
	if m.err == nil || !strings.Contains(m.err.Error(), "key user-token 1") || federation.AsError(m.err).Hint == "" {
		t.Errorf("the member ended with %v", m.err)
	}
	m.err = nil
}
