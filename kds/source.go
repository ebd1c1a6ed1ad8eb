package kds

import (
	"context"
	"crypto/x509"
	"net"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
)

// Source is where the server takes changes from: the replicated state of this
// member. Implementations are safe for concurrent use and never wait for other
// members.
type Source interface {
	// Head returns the cluster's id and the last revision that zones must see
	// and that this member has applied. The cluster is "" as long as the member
	// has no state to serve.
	Head() (cluster string, rev federation.Revision)
	// Watch returns a channel that is closed at the next change of Head. Who
	// takes it before reading Head misses nothing.
	Watch() <-chan struct{}
	// Since returns what leads from rev to the head: everything, with Full set,
	// where rev is zero, of an older history or too long ago, and an Unavailable
	// error where rev is ahead of this member.
	Since(rev federation.Revision) (cptoken.Delta, error)
	// Place tells where a position that a zone shows stands, and of one in this member's
	// past the revision. It is asked again, at each change and once a second, for one that
	// is ahead: also where nothing changes the member may find out more.
	Place(ctx context.Context, zone string, position []byte) (cptoken.Standing, federation.Revision)
}

// Sink is where the client puts changes: a zone's own copy.
type Sink interface {
	// Position returns whose state the copy holds durably and where it stands: "" and
	// the zero Revision for a copy that knows nothing. A stream resumes from it.
	Position() (cluster string, rev federation.Revision)
	// Proof returns the position that came with what Position tells, nil where none did.
	Proof() []byte
	// Taken returns what the next set must lead on from: Position, or further where
	// something was taken that is not durable yet.
	Taken() (cluster string, rev federation.Revision)
	// Take takes the next part of a set. Nothing of a set has an effect before its part
	// with Last set; when Take returns for that one, all that it refuses is refused. What
	// it allows waits until the set is durable, which Persisted tells. A part with Number
	// 0 begins a set anew and drops what an unfinished one had brought. An error means
	// that the set had no effect; the client reports it to the global.
	Take(ctx context.Context, p cptoken.Part) error
	// Persisted tells how far the copy is durable. The channel is closed when that
	// changes next.
	Persisted() (cptoken.Persistence, <-chan struct{})
	// Skipped names what the copy was sent and does not understand, and what it keeps beyond
	// what it was sent (cptoken.SplitKept), with the vocabulary that it was made with
	// (cptoken.Vocabulary at the time).
	Skipped() (vocabulary int, names []string)
	// Heard tells that the member of the global answered at that time, and that the
	// copy had everything then that the member had sent.
	Heard(member string, at time.Time)
}

// Credentials is what a caller showed, and which zone it claims to speak for.
// All of it is the caller's word except Certificate, Shows and Remote.
type Credentials struct {
	Zone          string            // metadata client-id, a valid zone name
	Authorization string            // metadata authorization as it came, may be empty
	Certificate   *x509.Certificate // a client certificate that TLS verified, or nil
	Remote        net.Addr
	Instance      string // metadata meridian-instance, may be empty
	Version       string // metadata version, may be empty
	Connection    uint64 // metadata meridian-connection, 0 where it is absent or no number
	Vocabulary    string // metadata meridian-vocabulary, may be empty
	Trusts        string // metadata meridian-trusts, may be empty
	Shows         string // the CA that vouches for Certificate, by its fingerprint
	Position      []byte // metadata meridian-position, may be empty
	Meridian      bool   // the caller advertised the feature "meridian"
}

// Admission is what an [Authenticator] found out about an admitted caller.
type Admission struct {
	// Zone that the caller may speak for. A call whose client-id is another zone
	// is refused, whatever the Authenticator said.
	Zone string
	// Method is how the caller proved it, one of the Method constants.
	Method string
	// TokenSerial, TokenID and Expires are those of the token, zero without one.
	// A session ends when its credential expires.
	TokenSerial uint64
	TokenID     string
	Expires     time.Time
	// Authenticated is false where the zone's mode lets anybody in. Such a
	// session displaces no other.
	Authenticated bool
	// Verdict is what a credential came to that was shown though none was
	// demanded, for example "expired". Empty elsewhere.
	Verdict string
	// Grant is that of the token, for a [Judge] to hold against what changed. Zero
	// without one.
	Grant cptoken.Grant
}

// The methods of an [Admission], as they stand in the log.
const (
	MethodControlPlaneToken = "Control Plane Token"
	MethodZoneToken         = "Zone Token"
	MethodCertificate       = "certificate"
	MethodNone              = "none"
)

// Authenticator decides whether a caller may speak for the zone that it claims.
// A refusal is an error whose [federation.Error] has the code Unauthenticated or
// Forbidden and a Reason; other codes mean that it could not be decided now, and
// the caller is asked to try again. It is called for every RPC, concurrently.
type Authenticator interface {
	Authenticate(ctx context.Context, c Credentials) (Admission, error)
}

// Judge may be implemented by an [Authenticator] that can tell from an admission
// alone, without the credential and without verifying a signature, whether it
// still holds. The error is why not, in the form of Authenticate's, and ends what
// was admitted; nil lets it go on. It is asked about every open connection at
// every Recheck of the server, so it should cost no more than a few lookups.
type Judge interface {
	Judge(a Admission) error
}

// Holder may be implemented by a [Sink] that can tell what it holds. A zone under
// Kuma's global needs it after a start, to see what is gone since: Kuma sends lists,
// not changes. Each key and each revoked id comes once.
type Holder interface {
	Held(key func(*cptoken.PublicKey), revoked func(kind cptoken.Kind, mesh, id string)) error
}

// The kinds of global that a zone may have, as the client names them.
const (
	KindMeridian = "meridian"
	KindKuma     = "kuma"
)
