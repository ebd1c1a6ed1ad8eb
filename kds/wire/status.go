package wire

import (
	"errors"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr/grpcerr"
	"github.com/meridiankds/meridian/kds"
)

// earned reports whether a caller may be told the reason: each of these is found
// only after the credential's signature verified, or says nothing that the caller
// did not. The others ("unknown_key", "bad_signature", …) would help a stranger
// to try credentials; the operator finds them in this member's log.
func earned(reason string) bool {
	switch reason {
	case kds.ReasonZoneDisabled, kds.ReasonZoneDeleted, kds.ReasonNodeID, kds.ReasonAuthChanged, kds.ReasonMissingToken:
		return true
	}
	switch cptoken.Reason(reason) {
	case cptoken.Expired, cptoken.NotYetValid, cptoken.Revoked, cptoken.IssuedBeforeCutOff, cptoken.KeyRemoved,
		cptoken.MissingExpiry, cptoken.MissingID,
		cptoken.WrongZone, cptoken.OutOfScope, cptoken.NotAllowed:
		return true
	}
	return false
}

// StatusOf is the only place where a federation.Error becomes a gRPC status.
// Unauthenticated and Forbidden both come out as Unauthenticated, with a message
// that has nothing in it but the reason, and that only where it is earned.
func StatusOf(err error) error {
	e := federation.AsError(err)
	switch e.Code {
	case federation.Unauthenticated, federation.Forbidden:
		msg := "authentication failed"
		if !earned(e.Reason) {
			return status.Error(codes.Unauthenticated, msg)
		}
		msg += ": " + e.Reason
		if e.Reason == kds.ReasonMissingToken && e.Hint != "" {
			msg += ": " + e.Hint // all that a zone of Kuma's shows is the message
		}
		return grpcerr.New(codes.Unauthenticated, msg, e.Reason, "").Err()
	case federation.Internal, federation.UnknownOutcome:
		return status.Error(codes.Unavailable, "internal error, see this member's log")
	}
	return grpcerr.New(grpcerr.Code(e.Code), e.Detail, e.Reason, "").Err()
}

// ErrorOf is its inverse, at the client.
func ErrorOf(err error) *federation.Error {
	var own *federation.Error
	if errors.As(err, &own) {
		return own
	}
	st, ok := status.FromError(err)
	if !ok {
		return federation.Errorf(federation.Internal, "%w", err)
	}
	code := grpcerr.CodeOf(st.Code())
	if code == federation.Forbidden {
		code = federation.Unauthenticated // as StatusOf has it
	}
	e := federation.Errorf(code, "%s", Printable(st.Message())).WithCause(err)
	for _, d := range disconnections {
		if m := d.says.FindStringSubmatch(st.Message()); code == federation.Unavailable && m != nil {
			return federation.Errorf(code, d.detail, toAny(m[1:])...).WithCause(err).WithHint("%s", d.hint)
		}
	}
	if reason, _ := grpcerr.InfoOf(st); reason != "" {
		e = e.WithReason(reason)
	}
	if hint := hintFor(e.Reason); hint != "" {
		e = e.WithHint("%s", hint)
	} else if code == federation.Unauthenticated {
		e = e.WithHint("the global's log has the reason")
	} else if strings.Contains(st.Message(), "x509: ") {
		e = e.WithHint("--ca-file must name the CA certificate of the global, and --global-address a name in its certificate")
	}
	return e
}

// disconnections are what gRPC says of connections that did not come about, in words of
// the operator's own and with what to do.
var disconnections = []struct {
	says         *regexp.Regexp
	detail, hint string
}{
	{regexp.MustCompile(`lookup (\S+?)(?: on \S+)?: no such host`), "the name %s of the global is not known to this machine (DNS)",
		"check the name in --global-address, or write the IP address there"},
	{regexp.MustCompile(`lookup (\S+?)(?: on \S+)?: `), "the name %s of the global could not be resolved: the name server gives no answer",
		"check the name server of this machine, or write the IP address in --global-address"},
	{regexp.MustCompile(`missing selected ALPN property`), "what answers at the address of the global speaks TLS without HTTP/2: it does not offer h2 (ALPN)",
		"a balancer before the global ends TLS: let it pass TLS through, or have its own TLS offer h2"},
	{regexp.MustCompile(`first record does not look like a TLS handshake`), "what answers at the address of the global does not speak TLS",
		"is the port in --global-address the KDS port (5685)? a global that was started with --kds-tls=false takes zones with --global-tls=false"},
	{regexp.MustCompile(`error reading server preface: (?:EOF|.*reset|.*frame)`), "what answers at the address of the global does not speak gRPC",
		"is the port in --global-address the KDS port of a global (5685)?"},
}

func toAny(words []string) []any {
	all := make([]any, len(words))
	for i, w := range words {
		all[i] = Printable(w)
	}
	return all
}

// hintFor tells a zone's operator what to do about what the global said.
func hintFor(reason string) string {
	switch cptoken.Reason(reason) {
	case cptoken.Expired, cptoken.Revoked, cptoken.IssuedBeforeCutOff, cptoken.KeyRemoved:
		return "put a new control plane token into the token file: global generate control-plane-token --zone NAME"
	case cptoken.NotYetValid:
		return "compare the clocks of this machine and of the one that issued the token"
	case cptoken.OutOfScope:
		return "use a control plane token, or a zone token whose only scope is cp"
	case cptoken.WrongZone:
		return "the token belongs to another zone: compare --zone with the zone that the token was issued for"
	}
	switch reason {
	case kds.ReasonMissingToken:
		return "no control plane token was given: name its file with --cp-token-file; global generate control-plane-token --zone NAME makes one"
	case kds.ReasonZoneDisabled:
		return "an operator of the global disabled this zone; applying it with enabled: true admits it"
	case kds.ReasonZoneDeleted:
		return "an operator of the global deleted this zone; applying it again admits it"
	case kds.ReasonAuthChanged:
		return "an operator of the global changed how this zone proves itself: see `global inspect zone NAME`"
	case kds.ReasonOtherCluster:
		return "this zone holds the state of another cluster: correct --global-address, or give the zone an empty data folder to move it"
	case kds.ReasonDisplaced:
		return "another process connected with this instance's id: two of them must not run on copies of one data folder"
	}
	return ""
}

// OtherCluster is the error of a zone that meets another cluster than its own.
func OtherCluster(mine, theirs string) error {
	return federation.Errorf(federation.Conflict, "this zone holds the state of cluster %.64q, the global is cluster %.64q", mine, theirs).
		WithReason(kds.ReasonOtherCluster).WithHint("%s", hintFor(kds.ReasonOtherCluster))
}
