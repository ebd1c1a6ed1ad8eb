package cluster

import (
	"errors"
	"log/slog"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
)

// asOperator runs a command of the global's program at a global of this process, and returns
// its exit code and all it said.
func (g *Global) asOperator(args ...string) (code int, said string) {
	g.t.Helper()
	_, said, err := command(binaries(g.t.(*testing.T), "").global, append(args, "--data-dir", g.Dir)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), said
	}
	if err != nil {
		g.t.Fatal(err)
	}
	return 0, said
}

// TestALossIsToldUntilItIsConfirmed: what operators see of a loss, wherever they look, and
// that the zone shows what it keeps, and gives up what is withdrawn.
func TestALossIsToldUntilItIsConfirmed(t *testing.T) {
	var log journal
	var said string
	g, west, disk := startLone(t, slog.New(slog.NewTextHandler(&log, nil)), false)
	lost := issueAndRevoke(t, g, 2)
	cutOff := []string{"revoke", "--yes", "--kind", "dataplane-token", "--mesh", "default"}
	if code, said := g.asOperator(append(cutOff, "--before", "now")...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	west.WaitCurrent(g)
	if code, said := g.asOperator("cluster", "status"); code != 0 {
		t.Errorf("before the loss: exit code %d\n%s", code, said)
	}
	disk.goBack()
	g.joinKuma("of-kuma", kumaOption{token: g.cpToken("of-kuma")})
	Eventually(t, "the loss to be known", func() bool { return len(g.Node.Store().Losses()) == 1 })
	loss := g.Node.Store().Losses()[0]

	Eventually(t, "an error in the log", func() bool {
		return log.Has("level=ERROR", "acknowledged changes were lost", `shown_by="zone west"`, loss.Shown.String(), "global cluster confirm-loss")
	})
	metric := func(value string) bool {
		return strings.Contains(scrape(t, g.Node.Endpoints().Diagnostics), "\nmeridian_losses_unconfirmed "+value+"\n")
	}
	if !metric("1") {
		t.Error("the metric does not count the loss")
	}
	audited := func(action string) bool {
		var list apitypes.Audit
		g.want(t, http.StatusOK, http.MethodGet, "/v1/audit?size=1000", nil, &list)
		for _, r := range list.Items {
			if r.Action == action && (action == "cluster confirm-loss" || r.About["shownBy"] == "zone west" && r.About["shown"] == loss.Shown.String()) {
				return true
			}
		}
		return false
	}
	Eventually(t, "the loss in the audit log", func() bool { return audited("begin history after loss") })
	defer func() {
		if t.Failed() {
			t.Logf("the last command said:\n%s", said)
		}
	}()
	Eventually(t, "the status to warn, and to name the Kuma zone", func() bool {
		var code int
		code, said = g.asOperator("cluster", "status")
		return code == 3 && strings.Contains(said, "zone west held revision "+loss.Shown.String()) &&
			strings.Contains(said, "zones that run Kuma's control plane went back too, revoke there again: of-kuma")
	})

	// What the zone keeps is shown, and given up once it is withdrawn.
	ids := []string{revocationID(t, lost[0]), revocationID(t, lost[1])}
	keeps := func(what ...string) bool {
		_, said = g.asOperator("inspect", "zone", "west")
		if len(what) == 0 {
			return !strings.Contains(said, "keeps beyond the list")
		}
		return strings.Contains(said, strings.Join(what, ", "))
	}
	Eventually(t, "the zone to show what it keeps", func() bool {
		return keeps("2 revoked ids and 1 cut-offs", "zone-token "+ids[0], "zone-token "+ids[1])
	})
	west.wantRefused("what was lost", lost...)
	for i, left := range [][]string{{"1 revoked ids and 1 cut-offs", "zone-token " + ids[1]}, {"0 revoked ids and 1 cut-offs"}} {
		if code, said := g.asOperator("revoke", "--withdraw", "--yes", "--kind", "zone-token", ids[i]); code != 0 {
			t.Fatalf("exit code %d\n%s", code, said)
		}
		Eventually(t, "the zone to give up what is withdrawn", func() bool { return west.accepts(lost[i]) && keeps(left...) })
	}
	if code, said := g.asOperator(append(cutOff, "--withdraw", "--cut-off")...); code != 0 {
		t.Fatalf("exit code %d\n%s", code, said)
	}
	Eventually(t, "the zone to give up the cut-off", func() bool { return keeps() })

	if code, said := g.asOperator("cluster", "confirm-loss"); code != 0 || !strings.Contains(said, "1 loss is confirmed") {
		t.Errorf("exit code %d\n%s", code, said)
	}
	if code, said := g.asOperator("cluster", "status"); code != 0 {
		t.Errorf("after the loss was confirmed: exit code %d\n%s", code, said)
	}
	if !metric("0") || !audited("cluster confirm-loss") {
		t.Error("the metric counts what is confirmed, or nothing says who confirmed it")
	}
}
