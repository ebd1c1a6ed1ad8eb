package tlsutil

import (
	"crypto/tls"
	"testing"
)

// talk connects and returns whether the session was one from before.
func talk(t *testing.T, server, client *tls.Config) (resumed bool, err error) {
	t.Helper()
	state, _, err := connect(t, server, client)
	return state.DidResume, err
}

// TestSessionsAreResumed: a zone that comes back to a member resumes its session, and
// material that was replaced at either end is held against it as against a new one.
func TestSessionsAreResumed(t *testing.T) {
	a, other := mustAuthority(t), mustAuthority(t)
	member := Static(mustIssue(t, a, Identity{"prod", RoleNode, "a"}), a.Pool())
	zone := Static(mustIssue(t, a, Identity{"prod", RoleZone, "west"}), a.Pool())
	server := member.ServerOptionalClient()
	for i, want := range []bool{false, true, true} {
		if resumed, err := talk(t, server, zone.Client()); err != nil || resumed != want {
			t.Fatalf("connection %d: resumed %v, %v", i, resumed, err)
		}
	}

	// The zone trusts another CA from now on.
	was := zone.Current()
	zone.replace(&Material{Certificate: was.Certificate, Pool: other.Pool(), sessions: was.sessions})
	if resumed, err := talk(t, server, zone.Client()); err == nil {
		t.Errorf("a member of a CA that is not trusted any more was taken, resumed: %v", resumed)
	}
	zone.replace(was)
	if _, err := talk(t, server, zone.Client()); err != nil {
		t.Fatal(err)
	}

	// So does the member: the certificate that the session began with counts for
	// nothing.
	now := *member.Current()
	now.Pool = other.Pool()
	member.replace(&now)
	if resumed, err := talk(t, server, zone.Client()); err == nil {
		t.Errorf("a zone of a CA that is not trusted any more was taken, resumed: %v", resumed)
	}
	now.Pool = a.Pool()
	if _, err := talk(t, server, zone.Client()); err != nil {
		t.Fatal(err)
	}
}
