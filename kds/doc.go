// Package kds is the vocabulary and the specification of the wire between the members
// of the global and the zones: this comment, the limits, the names, and the interfaces
// behind which state comes from and goes to ([Source], [Catalog], [Sink]) and who may
// speak for a zone is decided ([Authenticator]). kds/server and kds/client are the two
// ends, kds/wire is how both read and write messages, kds/kuma the resources of Kuma's.
//
// # Services
//
// One port, 5685, gRPC over TLS, with the services that Kuma's zone control
// planes call. Discovery messages are Envoy's (envoy.service.discovery.v3).
//
//	kuma.mesh.v1alpha1.KDSSyncService    GlobalToZoneSync   the zone subscribes, the global sends
//	                                     ZoneToGlobalSync   kept open; the global asks for nothing
//	kuma.mesh.v1alpha1.GlobalKDSService  HealthCheck        "I am there", answered with an interval
//	                                     StreamXDSConfigs   kept open; the global asks for nothing
//	                                     StreamStats        the same
//	                                     StreamClusters     the same
//
// And one of our own, for what a zone passes on for its users:
//
//	meridian.v1.Relay                    DataplaneToken     the user's token and wish; a token, or why not
//
// # Handshake
//
// Every call carries metadata: client-id, the zone that it speaks for; kds-version
// v3; version; features; and authorization, "Bearer " and a control plane token
// or a zone token whose only scope is cp. A zone of Meridian adds the feature
// "meridian", meridian-instance, which names one control plane of the zone
// and stays the same over restarts, and meridian-connection, which counts the connections
// of that instance: members remember sessions each for themselves, and the number tells
// which was the last. Every call is authenticated before a byte of
// its messages is read. The zone of the credential must equal client-id, and on
// GlobalToZoneSync node.id of the first request, and of any later one that has it.
//
// A stream that is admitted is answered at once with the header meridian-member,
// the node id of the member, and meridian-cluster, the id of its cluster. So is every
// other call, and each says in meridian-leader-contact how many milliseconds ago the member last
// heard the leader: what a member has that is cut off from the others is as old as that,
// however promptly it answers.
//
// # Sessions
//
// A GlobalToZoneSync stream becomes a session with its first request, which must
// come within 10 s. A session is (zone, instance); the instance of a zone of
// Kuma's is node.metadata's control-plane-id. A new session of an instance
// displaces the one that is open, together with the other calls of that
// connection; other instances of the zone are left alone. A session that is not
// authenticated displaces nobody and lives beside the others. A session ends when
// its credential expires.
//
// # Changes
//
// Under the type "meridian.v1.Changes" a zone gets public keys and revocations
// as sets of changes. A set leads from one revision to another, or, being full,
// from nothing to a revision. It travels in parts, each a response with one
// resource:
//
//	type_url   meridian.v1.Changes
//	nonce      <revision>#<part>                     part counts from 0
//	resource   name "changes", version "<revision>", an Any of meridian.v1.Changes
//
// where <revision> is [federation.Revision.String] of where the set leads. A part
// has at most 512 KiB. The parts of a set follow each other without anything of
// another set between them, and have no effect before the last one.
//
// The zone subscribes with one request (names "*"). It says what it holds in
// initial_resource_versions, {"changes": "<cluster>/<revision>"}; a zone that
// holds nothing leaves it out. Beside it stands, as "position" in base64, what came with
// the last part of the set that led there (Changes.position): opaque to the zone, it proves
// to the global that the zone holds everything up to it. The answer, always one set, is
//
//   - changes since that position, where it is in the member's past, an empty set where
//     there are none; a full state where removals are not remembered that far back;
//   - a full state where the zone holds nothing, and one marked merging where nothing
//     proves where it stands, or it is of an older history: the zone keeps what it refuses
//     until that is explicitly withdrawn;
//   - nothing yet, where it is ahead of this member, be it in this history or in a
//     newer one: the member is still catching up, or changes were lost, for which the
//     position is the proof;
//   - FailedPrecondition, reason other_cluster, where it is another cluster's.
//
// From then on every change is sent as soon as it is there. While several sets
// are unacknowledged, changes gather into the next one.
//
// The zone acknowledges a set once, with the nonce of its last part, and only
// when all of it is durable and in use. Earlier parts are not acknowledged, and one
// acknowledgement stands for the sets before it: a zone may keep one to itself for
// 50 ms, but not that of its first set, nor of more than one. It refuses a set with the
// nonce of the part at fault and error_detail, and then nothing of the set has had an
// effect; the global sends no more on this stream, and the zone resumes on a new one.
//
// What narrows does not wait for the zone's disk: with the last part of a set every
// revocation, removal and cut-off in it is in force, and what it allows waits until it is
// durable. Where that takes longer than 250 ms, or fails, the zone answers with the nonce
// and an error_detail of the code UNAVAILABLE (14) that says why. The set then counts as
// neither acknowledged nor refused: the global waits for it no longer, and goes on
// sending. The zone acknowledges it once it is durable; or it ends the stream when it can
// write again, and resumes from what is durable, because it keeps in memory only what
// such sets refuse.
//
// # Newer words
//
// A zone may be older than the global. What it does not understand of a change - the kind
// of change, a kind of token, an algorithm, a state, a scope, or any field - it skips: it
// keeps the rest of the set, trusts nothing of what it skipped, and trusts a key that
// the change concerns no longer. Where only a field of a revocation, cut-off or removal is
// not known, it is in force, and named as well. Fields of Changes itself never refuse
// anything, and are ignored where they are not known. A global sends nothing that refuses
// in a form in which an older zone could not see that it does not understand it.
//
// The zone remembers durably what it skipped and names it, in each acknowledgement and
// when it resumes, in resource_names_unsubscribe: "kind:<kind>", "key:<kind>/<kid>" or
// "key:<kind>/<mesh>/<kid>", "change:<what>", and "more" where there were too many. For
// gates none of it is held, whatever revision was acknowledged.
//
// A zone tells its vocabulary, a number that grows with each release that adds a word
// ([cptoken.Vocabulary]), in the metadata meridian-vocabulary, and when it resumes that of
// its copy, in initial_resource_versions {"vocabulary": "<number>"}. Where the two differ
// the answer is the full state, also where it leads to where the zone stands already: an
// upgraded zone gets what it had skipped.
//
// A request of the type meridian.v1.KeySets is a report, and is not answered: which key
// sets were fetched at the zone, in initial_resource_versions {"key-sets": "<lines>"}, a
// line each of set, count and Unix time of the last fetch, at most 64. A zone sends it
// when it has joined and when there is news, at most every 10 minutes for one set.
//
// In the metadata meridian-trusts it names the CAs that it takes the global's certificate of,
// by their fingerprints ([tlsutil.Material.Trusts]), so that nobody uses a certificate of a
// new CA before it knows it. When they change, as when its token does, it connects anew to the
// same member, and the new session takes over from the one of before.
//
// In the metadata meridian-position it shows its position, in base64, so that a global that
// refuses it still finds out that it lost changes: the key of the zone's token may be among
// them. A position proves itself, and opens nothing.
//
// A certificate that was expelled ([cptoken.Certificate]) comes as a revoked id, and is
// withdrawn when it is readmitted: the zone refuses it on every connection.
//
// Every acknowledged change moves the revision, also one that zones need not see: they get
// an empty set, and with it a position. "removed:<kind>/<kid>" names a key that the zone
// knows as removed and that it was sent again, which it refuses.
//
// A zone checks for itself that a set is of its cluster, leads on from what it holds and
// leaves nothing out, and never leads to an older history, nor, unless it merges, to less
// than the zone holds: it refuses such a set (reason ahead) and never passes it over. So a set that is lost, which
// no connection does, is noticed by the next one; if it was the last, by the member, which
// waits 60 s for an acknowledgement. One that arrives twice is refused or changes nothing.
//
// # Kuma's types
//
// Zones of Kuma's subscribe by the bare names of their types. Four of them have
// resources, each an Any of kuma.mesh.v1alpha1.KumaResource:
//
//	Config        kuma-cluster-id: the cluster's id
//	Mesh          every mesh, by its name alone
//	GlobalSecret  zone-token-signing-public-key-<serial> of every key of zone tokens that
//	              is not removed, PKCS#1 as PEM; zone-token-revocations if there are any;
//	              dataplane-token-revocations-<mesh> of every mesh that has some, where
//	              zones since 2.10 look for it
//	Secret        the same for zones up to 2.9, which look among the secrets of the mesh
//
// Never a signing key, and no registered public key: such a zone could not hold it
// to its constraints. Every other type is answered too, once, with no resources.
//
// The answer to a subscription is all there is, in one message where it fits into
// what such a zone takes (10 MiB), and what changes is sent as it does: resources
// that are new or different, and removed_resources "<name>.<mesh>", where the name of
// what has no mesh ends in the dot. A type has one answer under way at a time, and
// changes gather meanwhile. A refused answer is not sent again until there is
// something new, and then with it. After a reconnect everything begins from nothing.
// A list has the ids that were revoked first, as many as a message has room for.
//
// What a zone of Kuma's acknowledges is the revision at which everything that it
// asked for is in its hands. On ZoneToGlobalSync and the three admin streams the
// global never asks for anything; what a zone sends there is dropped unread, and
// too much of it ends the call.
//
// # Relay
//
// DataplaneToken carries a user's own token, which the zone was shown and passes on
// as it is: the role of that user counts, never the zone's own. The global answers
// only a zone that is authenticated and whose record names the mesh, with a validity
// within the record's. A refusal is a message of its own, because it is for the user;
// the status of the call is about the zone, and never repeats the request.
//
// # A zone under a global of Kuma's
//
// Meridian's global says what it is as soon as it admits a call; Kuma's says nothing
// before it is asked. A zone that does not know whom it meets waits a moment for the
// header, and then subscribes as Kuma's zones do, to the four types above and no
// other, so that a global of Kuma's is not asked for what it does not know. It takes
// the public keys and the lists of revoked ids; of a private key it reads the modulus
// and the exponent, and overwrites the decoded message; copies in the buffers of TLS and
// HTTP/2 stay until they are used again. What it is told it applies as changes of a
// history of its own, which is older than any of Meridian's, and acknowledges once it
// is durable; the first answers it acts on together.
//
// Such a global says what there is and not what changed. What its first answers do
// not name is gone only where something else of the kind is named: an answer without
// a single key takes none away, and a list that is not there withdraws nothing. A
// zone never takes the state of another cluster, of whichever kind.
//
// # Loss
//
// Losing a stream means nothing: the zone changes no state, reconnects to any
// member after a jittered wait that grows to 30 s, and resumes. Nothing is ever
// deleted but by an explicit change. Zones ping an idle connection every 20 s, and members
// one that was silent a little longer ([Keepalive]). Where balancers count messages a zone
// sends a request of [KeepaliveType], which is answered. A zone calls HealthCheck within 10 s and
// then at the interval that the answers name, 5 minutes where they name none, or three
// times within what its --max-stale allows.
//
// # Refusal
//
// Who is not authenticated, or may not join, gets Unauthenticated. The message
// is "authentication failed", followed by ": " and the reason only where the
// credential's signature verified, so that a stranger learns nothing; the
// member's log and counters have it always. Reasons also travel as
// google.rpc.ErrorInfo (domain "meridian"). Other refusals:
//
//	InvalidArgument     a malformed request
//	ResourceExhausted   a bound of limits.go
//	FailedPrecondition  other_cluster; displaced, by a newer connection of the instance
//	Unavailable         stopping, not_ready, too_slow, disconnected: come back
//
// A zone that does not drain what it is sent within 20 s is cut off without a
// word, because a word would not get through. One that drains but does not
// acknowledge within 60 s is told.
//
// # Compression
//
// The server takes gzip, bounded after decompression, and sends without: a set
// is marshalled once for all zones.
package kds
