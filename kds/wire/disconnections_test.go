package wire

import (
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestDisconnectionsAreExplained: what gRPC says of a connection that did not come about is
// told in the operator's words, each with what to do.
func TestDisconnectionsAreExplained(t *testing.T) {
	seen := map[int]bool{}
	for said, want := range map[string][2]string{
		`connection error: desc = "transport: Error while dialing: dial tcp: lookup nowhere.example on 127.0.0.53:53: no such host"`: {"the name nowhere.example of the global is not known", "--global-address"},
		`connection error: desc = "transport: Error while dialing: dial tcp: lookup nowhere.example: i/o timeout"`:                   {"the name nowhere.example of the global could not be resolved", "--global-address"},
		`connection error: desc = "transport: authentication handshake failed: credentials: cannot check peer: missing selected ALPN property. If you upgraded"`: {
			"does not offer h2 (ALPN)", "balancer"},
		`connection error: desc = "transport: authentication handshake failed: tls: first record does not look like a TLS handshake"`: {"does not speak TLS", "--global-tls=false"},
		`connection error: desc = "error reading server preface: http2: frame too large"`:                                             {"does not speak gRPC", "5685"},
		`connection error: desc = "error reading server preface: EOF"`:                                                                {"does not speak gRPC", "5685"},
	} {
		e := ErrorOf(status.Error(codes.Unavailable, said))
		if !strings.Contains(e.Detail, want[0]) || !strings.Contains(e.Hint, want[1]) || strings.Contains(e.Detail, "transport:") {
			t.Errorf("%s\nis told as: %s\nhint: %s", said, e.Detail, e.Hint)
		}
		for i, d := range disconnections {
			if d.says.MatchString(said) {
				seen[i] = true
				break
			}
		}
	}
	if len(seen) != len(disconnections) {
		t.Errorf("%d of %d are tried", len(seen), len(disconnections))
	}
}
