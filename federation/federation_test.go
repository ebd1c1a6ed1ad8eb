package federation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"
)

func TestValidateName(t *testing.T) {
	for _, good := range []string{"west", "a", "0", "us-east-1", "a.b", "a--b", "z_1", "a_._b", strings.Repeat("a", MaxNameLen)} {
		if err := ValidateName("zone", good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "West", "a/b", "a b", "-a", "a-", ".a", "a.", "a..b", "ä", "a\x00b", "../etc", "_a", "a_", strings.Repeat("a", MaxNameLen+1)} {
		err := ValidateName("zone", bad)
		e := AsError(err)
		if e == nil || e.Code != Invalid || len(e.Fields) != 1 || e.Fields[0].Field != "zone" {
			t.Errorf("%q: %#v", bad, err)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("%.20q: the message has %d characters", bad, len(err.Error()))
		}
	}
}

func TestRevisionText(t *testing.T) {
	r := Revision{History: History{ID: "0123456789abcdef", Created: 1795324516000}, Index: 42}
	if got, want := r.String(), "0123456789abcdef-1795324516000@42"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, rev := range []Revision{r, {}, {History: r.History, Index: 1<<64 - 1}} {
		got, err := ParseRevision(rev.String())
		if err != nil || got != rev {
			t.Errorf("%s came back as %v, %v", rev, got, err)
		}
	}
	for _, bad := range []string{"", "x", "@", "0123456789abcdef@1", "0123456789abcdef-1@", "0123456789abcdef-1@-1",
		"0123456789ABCDEF-1@1", "0123456789abcde-1@1", "0123456789abcdef--1@1", "0123456789abcdef-1@99999999999999999999"} {
		if got, err := ParseRevision(bad); err == nil {
			t.Errorf("%q was read as %v", bad, got)
		}
	}
}

func TestRevisionsAreComparedWithinAHistory(t *testing.T) {
	old, young := History{ID: "ffffffffffffffff", Created: 1}, History{ID: "0000000000000000", Created: 2}
	if old.Compare(young) >= 0 || young.Compare(old) <= 0 || old.Compare(old) != 0 {
		t.Error("histories are not ordered by when they began")
	}
	if twin := (History{ID: "0000000000000000", Created: 1}); old.Compare(twin) <= 0 || twin.Compare(old) >= 0 {
		t.Error("two histories of one moment are not ordered by their ids")
	}
	at := func(h History, i uint64) Revision { return Revision{History: h, Index: i} }
	if !at(old, 5).Covers(at(old, 5)) || !at(old, 6).Covers(at(old, 5)) || at(old, 4).Covers(at(old, 5)) {
		t.Error("Covers is wrong within a history")
	}
	if at(young, 9).Covers(at(old, 5)) || at(old, 9).Covers(at(young, 5)) {
		t.Error("a revision covers one of another history")
	}
	if !(Revision{}).IsZero() || at(old, 0).IsZero() || !(History{}).IsZero() || old.IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestAdmit(t *testing.T) {
	for reason, z := range map[string]Zone{
		"":              {Name: "west", Enabled: true},
		"zone_disabled": {Name: "west"},
		"zone_deleted":  {Name: "west", Enabled: true, Deleted: true},
	} {
		err := z.Admit()
		if reason == "" {
			if err != nil {
				t.Errorf("an enabled zone: %v", err)
			}
			continue
		}
		if e := AsError(err); e == nil || e.Code != Forbidden || e.Reason != reason || e.Hint == "" {
			t.Errorf("%s: %#v", reason, err)
		}
	}
}

func TestParseAuthMode(t *testing.T) {
	for text, want := range map[string]AuthMode{"token": AuthToken, "cpToken": AuthToken, "certificate": AuthCertificate, "none": AuthNone} {
		if got, err := ParseAuthMode("auth", text); err != nil || got != want {
			t.Errorf("%s: %q, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "None", "open", "cptoken"} {
		if got, err := ParseAuthMode("auth", bad); err == nil {
			t.Errorf("%q was read as %q", bad, got)
		}
	}
}

func TestErrors(t *testing.T) {
	err := error(Errorf(Conflict, "opening %s: %w", "x", fs.ErrNotExist))
	if !errors.Is(err, fs.ErrNotExist) || CodeOf(err) != Conflict || err.Error() != "opening x: file does not exist" {
		t.Errorf("got %v (%s)", err, CodeOf(err))
	}
	wrapped := fmt.Errorf("outer: %w", err)
	if AsError(wrapped) != err || CodeOf(wrapped) != Conflict {
		t.Error("an error is not found in a chain")
	}
	if AsError(nil) != nil || CodeOf(nil) != "" {
		t.Error("nil is an error")
	}
	foreign := AsError(errors.New("the password is 12345"))
	if foreign.Code != Internal || strings.Contains(foreign.Error(), "12345") {
		t.Errorf("a library's message went into %q", foreign.Error())
	}
	for _, ended := range []error{context.Canceled, fmt.Errorf("reading: %w", context.Canceled), context.DeadlineExceeded} {
		if e := AsError(ended); e.Code != Unavailable || CodeOf(ended) != Unavailable || strings.Contains(e.Error(), "internal") || !errors.Is(e, ended) {
			t.Errorf("%v, of a caller that has gone or a time that is over, is %s: %s", ended, e.Code, e)
		}
	}
	e := Errorf(Unavailable, "no leader")
	changed := e.WithHint("wait %d s", 3).WithReason("no_leader").WithCause(fs.ErrClosed)
	if changed.Hint != "wait 3 s" || changed.Reason != "no_leader" || !errors.Is(changed, fs.ErrClosed) || e.Hint != "" || e.Reason != "" {
		t.Errorf("got %#v from %#v", changed, e)
	}
	if got := (&Error{Code: Invalid, Fields: []FieldError{{"zone", "must not be empty"}}}).Error(); got != "zone: must not be empty" {
		t.Errorf("got %q", got)
	}
	if got := (&Error{Code: Internal}).Error(); got != "internal" {
		t.Errorf("got %q", got)
	}
	if DefaultRelayValidity != 24*time.Hour {
		t.Error("the longest validity of a relayed token is not a day")
	}
}
