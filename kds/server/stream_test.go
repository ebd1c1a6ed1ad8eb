package server

import (
	"testing"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/kds"
)

// TestAStepOfTheClockEndsASession: a credential ends by the wall clock. A stream looks each
// minute, and finds that its credential is over when the clock was set forward.
func TestAStepOfTheClockEndsASession(t *testing.T) {
	off := time.Duration(0)
	s := New(Config{Now: func() time.Time { return time.Now().Add(off) }})
	st := &stream{srv: s, opened: time.Now(), call: &call{admission: kds.Admission{Expires: time.Now().Add(time.Hour)}}}
	st.session = newSession(st.call, "i", "m", time.Now())
	at, _ := st.deadline()
	if left := time.Until(at); left < 59*time.Minute || left > time.Hour {
		t.Errorf("it ends in %s", left)
	}
	if wait := st.untilDeadline(); wait > time.Minute {
		t.Errorf("it does not look for %s", wait)
	}
	off = 2 * time.Hour
	at, why := st.deadline()
	if time.Until(at) > 0 || st.untilDeadline() != 0 || why().Reason != string(cptoken.Expired) {
		t.Errorf("after the step it ends at %s", at)
	}
	off = -2 * time.Hour
	if at, _ := st.deadline(); time.Until(at) < 2*time.Hour {
		t.Errorf("set back, it ends at %s", at)
	}
	st.call.admission.Expires = time.Time{}
	if wait := st.untilDeadline(); wait != idleCheck {
		t.Errorf("without an end it looks in %s", wait)
	}
}
