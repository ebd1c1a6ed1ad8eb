// Package peer is the port on which the members of a global cluster talk to each
// other, 5683, and the requests that they send there beside Raft's.
//
// # The port
//
// One listener, TLS 1.3, both ends show a certificate whose URI SAN is
// meridian://<cluster>/node/<name>, of the cluster's CA; a zone's, a user's or
// another cluster's certificate ends the handshake. ALPN tells two protocols apart:
//
//	meridian-raft/2  Raft's own messages; each connection begins with the id of the node
//	                 that it is meant for, see raftstore
//	meridian-h2/2    HTTP/2, what follows
//
// A connection has 10 s for its handshake and proof. Of a protocol that nobody asked for
// it is closed. A version that proves nothing offers "h2"; it is told so (403, seal_key).
//
// # The proof of the seal key
//
// A certificate alone opens nothing. Before the first byte of either protocol both ends
// prove that they hold a seal key:
//
//	dialer → acceptor   its node id, the id of the node that it means (or none), and for
//	                    each seal key that it holds, the newest first, a MAC
//	acceptor → dialer   its node id and its own MAC under the newest seal key that both
//	                    hold, or why it refuses
//
// A refusal proves nothing, and is only shown to who operates the dialer. Each message is
// JSON behind its length in two bytes. A MAC is an HMAC-SHA256, under a
// key that HKDF derives from the seal key, over the role of the end that makes it, the
// connection's tls-exporter (RFC 9266), its protocol, both certificates, the seal key's id
// and the node ids. So it proves nothing on another connection, and nothing when it is sent
// back. Proving the key to who lacks it would do no harm; the dialer proves first only
// because it takes one round trip less to tell it what is wrong.
//
// A seal key that the cluster has replaced proves nothing (see [Admission]); a rotation
// needs no order, since members that hold both keys prove themselves with either one.
// What is judged at the beginning of a connection is judged again when it changes
// ([Gate.Review]): the CA, the seal key, who was expelled. A dialer that means one node
// sends no request to another one that answers at its address.
//
// Who can prove the seal key can open every signing key, so that what it says about the
// callers whose requests it forwards is believed, and for no other reason.
//
// # Requests
//
// POST with a JSON object, answered by a JSON object, status 200; an error has the
// shape of internal/apierr with the status of its code. Members that are not known
// are ignored, since members of two versions run beside each other during an upgrade.
// Bodies have at most 1 MiB, a report 32 MiB.
//
//	/v1/peer/hello       [Hello] → [Hello]. Who are you? Any node, at any time. It says
//	                     whether the node holds state, whom it takes for the leader, and,
//	                     before the founding, which nodes it sees.
//	/v1/peer/promise     [Promise] → {}. May the founder found? A node says yes to one
//	                     founder only, and only if it holds no state and sees the same
//	                     nodes. 409 otherwise.
//	/v1/peer/join        [JoinRequest] → {}. To the leader: add me without a vote, or
//	                     note my new address. The leader dials the address and goes on
//	                     only if this very process answers there. 409 with reason
//	                     node_id_taken where another process runs under the id, removed
//	                     where the node was removed and still has its folder.
//	/v1/peer/report      [Report] → [ReportAnswer]. To the leader, each second and on change:
//	                     what the member applied, whether it wants a vote, which zones it
//	                     carries, what they acknowledged. It counts for 10 s from its receipt. Sessions are left
//	                     out where their digest is the one of the report before; a leader
//	                     that does not have that one asks for them (Full).
//	/v1/peer/read-index  {} → [ReadIndex]. To the leader: an index up to which everything
//	                     is applied that had been acknowledged by now, and the members.
//	/v1/peer/clock       {} → [Clock]. What time is it? Each member asks all others every
//	                     few seconds, and measures how long the answer took.
//	/v1/peer/see-zone    [SeeZone] → the zone's record. To the leader: a zone has joined here.
//
//	/v1/peer/standing    [Standing] → [Standings]. How far are you, and have we diverged? Each
//	                     member asks all others, before it starts Raft and then every second,
//	                     and keeps what they say (standings.json). A member that stops because
//	                     its log and the leader's differ hands over its position as a proof.
//	/v1/peer/audit       audit.Query → audit.Page. What was done through this member, and
//	                     who was refused there.
//
// Hello, promise, join and standing are for every node that has proved the seal key; a report, a
// join and a standing for the node itself only. Everything else is for members, as the node that answers
// sees them, and what is forwarded for members in the leader's view, which a node that does not
// lead asks for: 403 with reason removed for others.
//
// A node that does not lead answers what is meant for the leader with 503 and reason
// not_leader; nothing was changed then. Every request carries "Meridian-Cluster", the
// cluster's id, once the sender knows it; a node of another cluster refuses it (409,
// other_cluster).
//
// # Forwarding
//
// /v1/peer/api/… is the HTTP API of the global for callers whom another member has
// authenticated: method, path, query, body, Content-Type, If-Match and X-Request-Id are
// the caller's; "Meridian-Caller" says who that is (see internal/access). There is one
// hop: what is forwarded is answered by the leader or refused, never passed on. A token is
// issued by any member: one whose clock is behind a cut-off, or off, asks another one. How each
// caller gets there:
//
//	caller               recognised by the member that it asks      told to the leader as
//	bearer token         its signature, revocation and audience     name and groups, via token
//	client certificate   its chain and role at this moment          name, via cert
//	admin socket         the socket's file permissions              admin, via socket
//	loopback (dev)       a loopback address and a local Host        admin, via loopback
//
// TestEachCallersWayToTheLeader (internal/test/cluster) tries each row. The token itself and
// the certificate stay with the member that was asked. The answer bears "Meridian-Applied",
// the leader's Raft index, up to which the forwarding member waits before it passes the answer on unchanged, so that a caller who then reads
// at the same member sees what it wrote.
//
// A request that was not sent is Unavailable. One that was sent and brought no answer is
// UnknownOutcome: it is never sent again, because nobody but the caller knows whether it
// may be. The caller may repeat it under the same request id.
package peer
