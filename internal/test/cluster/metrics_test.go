package cluster

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
)

// scrape returns what a diagnostics port shows at /metrics.
func scrape(t *testing.T, address string) string {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport, Timeout: Patience}).Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	return string(text)
}

func TestMetrics(t *testing.T) {
	g := StartGlobal(t, quiet)
	west := g.StartZone("west", g.KDS())
	west.WaitCurrent(g)
	west.Expect("its own token", g.ZoneToken("west", cptoken.ScopeEgress), "egress", Accepted)
	west.Expect("a token of east", g.ZoneToken("east", cptoken.ScopeEgress), "egress", Refused("wrong_zone"))
	west.WaitFor(revoke(t, g, g.ZoneToken("west", cptoken.ScopeEgress)))
	wants := func(address string, lines ...string) {
		t.Helper()
		for _, line := range lines {
			Eventually(t, address+"/metrics to have "+line, func() bool { return strings.Contains(scrape(t, address), "\n"+line) })
		}
	}
	wants(g.Node.Endpoints().Diagnostics,
		"meridian_build_info{goversion=", `meridian_zones{state="online"} 1`, `meridian_revocations{kind="zone",mesh=""} 1`, "meridian_leader 1", "meridian_ready 1", "meridian_sealed 1",
		`meridian_keys{kind="zone",mesh="",state="active"} 1`, `meridian_zone_behind_changes{zone="west",zone_instance="`+west.Node.Store().Instance()+`"} 0`,
		"meridian_zone_token_expiry_timestamp_seconds{", "meridian_certificate_expiry_timestamp_seconds{", "meridian_propagation_seconds_count ",
		"meridian_kds_authenticated_total ", "meridian_raft_applied_index ",
		`meridian_raft_state{state="leader"} 1`, "meridian_raft_term ", "meridian_raft_commit_index ", "meridian_raft_commit_seconds_count ", "meridian_raft_peers 0",
		"meridian_raft_leader_contact_seconds 0", "meridian_can_sign 1", "meridian_keys_broken 0", `meridian_roles_bindings{digest="`, "meridian_audit_failures_total 0", "meridian_audit_suppressed_total 0",
		"meridian_slowed_failures_total 0", `meridian_key_state_since_timestamp_seconds{kid="1",kind="zone",mesh="",state="active"} `,
		`meridian_tokens_verified_total{kind="control-plane",result="accepted"} `)
	wants(west.Node.Endpoints().Diagnostics,
		"meridian_connected 1", "meridian_build_info{goversion=", `meridian_tokens_verified_total{kind="zone",result="accepted"} 1`, `meridian_tokens_verified_total{kind="zone",result="wrong_zone"} 1`,
		`meridian_revocations{kind="zone"} 1`, "meridian_token_expiry_timestamp_seconds ", "meridian_global_heard_timestamp_seconds ", "meridian_sessions 0")

	// A zone that is away is named.
	const offline = `meridian_zone_offline{zone="west"} 1`
	if strings.Contains(scrape(t, g.Node.Endpoints().Diagnostics), offline) {
		t.Error("a zone that is online is shown as offline")
	}
	west.Stop()
	wants(g.Node.Endpoints().Diagnostics, offline, `meridian_zones{state="offline"} 1`)
}
