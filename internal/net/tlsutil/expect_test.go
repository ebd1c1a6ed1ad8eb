package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// TestWhoAnswersIsExpected: any certificate of the CA with a matching host name would do
// for TLS; a caller takes those of the right role, cluster and, of zones, name.
func TestWhoAnswersIsExpected(t *testing.T) {
	ca := mustAuthority(t)
	answers := func(e *Expectation, id Identity) string {
		t.Helper()
		client := Client(ca.Pool())
		client.VerifyConnection = e.Verify
		_, err := handshake(t, Static(mustIssue(t, ca, id), nil).Server(), client)
		if err == nil {
			return ""
		}
		return federation.AsError(err).Reason
	}
	node, west := Identity{"prod", RoleNode, "a"}, Identity{"prod", RoleZone, "west"}
	for _, tt := range []struct {
		name          string
		role          Role
		cluster, zone string
		answers       Identity
		refused       string
	}{
		{"a node for a zone", RoleNode, "", "", node, ""},
		{"a node of the cluster", RoleNode, "prod", "", node, ""},
		{"a zone that poses as a node", RoleNode, "", "", west, "wrong_role"},
		{"a node of another cluster", RoleNode, "other", "", node, "other_cluster"},
		{"a zone for its proxies", RoleZone, "", "west", west, ""},
		{"another zone", RoleZone, "", "east", west, "other_name"},
		{"one of two zones", RoleZone, "", "east west", west, ""},
		{"a node that poses as a zone", RoleZone, "", "", node, "wrong_role"},
	} {
		if got := answers(Expect(tt.role, tt.cluster, strings.Fields(tt.zone)...), tt.answers); got != tt.refused {
			t.Errorf("%s: refused for %q, want %q", tt.name, got, tt.refused)
		}
	}

	// What is not known beforehand is learned from the first one that answers.
	learned := Expect(RoleNode, "")
	for _, step := range []struct {
		id   Identity
		want string
	}{{node, ""}, {Identity{"prod", RoleNode, "b"}, ""}, {Identity{"other", RoleNode, "a"}, "other_cluster"}} {
		if got := answers(learned, step.id); got != step.want {
			t.Errorf("%s: refused for %q, want %q", step.id.URI(), got, step.want)
		}
	}
	zone := Expect(RoleZone, "")
	if got := answers(zone, west); got != "" {
		t.Errorf("a zone: %s", got)
	}
	if got := answers(zone, Identity{"prod", RoleZone, "east"}); got != "other_name" {
		t.Errorf("another zone after the first one: %q", got)
	}

	// A certificate without any identity is left to TLS; one with a broken identity is not.
	public := tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}
	if err := Expect(RoleNode, "prod").Verify(public); err != nil {
		t.Errorf("a certificate without an identity: %v", err)
	}
	broken := *mustIssue(t, ca, node).Leaf
	broken.URIs = append(broken.URIs, west.URI())
	if err := Expect(RoleNode, "").Verify(tls.ConnectionState{PeerCertificates: []*x509.Certificate{&broken}}); err == nil {
		t.Error("a certificate with two identities was taken")
	}
}
