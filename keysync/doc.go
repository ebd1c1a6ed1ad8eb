// Package keysync is a zone's verified copy of the global's public keys and
// revocations: a file that outlives the process, and an immutable [View] of it in
// memory that proxies' tokens are held against without locks.
//
// [Store.Take] takes sets of changes as they come from the global. What a set refuses is
// refused when Take returns, whatever the disk does; what it allows is visible when the
// set is durable, which [Store.Persisted] tells, so that what was acknowledged is neither
// lost nor undone. [Store.Run] writes: sets, and the contact. While it cannot, the zone keeps in
// memory what the sets refuse and not the sets. Once it can, it first writes what they
// refuse, where the copy stands, and then has them sent again: what comes may be a newer
// history that knows nothing of it. A file that is moved, removed or replaced under a
// running zone counts as a disk that cannot be written, until it is put back. What the zone's version does not
// understand is kept out of the copy, and named by [View.Skipped]. The copy never goes back within a
// history. In a newer history, which a restore of the global begins, it takes the
// full state but keeps what was revoked or removed before until that is
// explicitly undone: a backup must not bring back a key or token that somebody
// had reason to fear. Explicit is what the new history itself did, which a set tells
// by the index at which it began. Nothing is ever forgotten because the global is silent, and
// revocations only on the watermark that the global stamps.
//
// # The file
//
// A bbolt file with these buckets. Integers are big-endian, varints as in
// encoding/binary; a string is its length as a uvarint and its bytes; a name is the
// kind, the mesh and the kid as strings; flag 1 marks what was kept from an older history.
//
//	head    "head": "MRDNZONE", format uint32 (3), strings instance, zone, cluster
//	        and history, varint history's creation (ms), uvarint index, string position, varint
//	        watermark (ms), uvarints vocabulary of the last full state, next number of the log, ids revoked in the log,
//	        of these kept from an older history, and the number of kinds and for
//	        each its name and how many ids are revoked; varint earliest expiry in the log (s), string member and varint
//	        time (ms) of the last contact; six sums of 32 bytes; SHA-256 of it all
//	keys    name: strings algorithm, state, SubjectPublicKeyInfo; a byte, 0 for a
//	        key that the global made, else 1, plus 2 for allow-no-expiry, 4 for
//	        allow-no-id, followed by uvarint longest lifetime (s), the number of
//	        zones and the zones, the number of scopes and the scopes
//	cutoffs name: flags, varint time (s)
//	tombs   name and SHA-256 of the removed key (zeros: unknown): flags
//	log     number uint64: 1 for revoked or 2 for withdrawn, flags, strings kind
//	        and mesh, uvarint n, and n ids: a byte, plus 1 if the id is text and not a
//	        UUID, plus 2 if an expiry follows; 16 bytes or a string; varint expiry (s)
//
//	skipped what was not understood, a name as in cptoken: uvarint index
//
// Kinds, algorithms, states and scopes that a version does not know are no damage: a
// newer one wrote them, they stay in the file, and nothing is verified with them.
//
// The sum of a bucket is the SHA-256 of each of its records (bucket, lengths, key
// and value), added modulo 2^256, and follows each transaction at a cost that
// does not depend on how much is there. When a file is opened, all of it is read
// by plain reads and held against its head, the structure of bbolt's pages
// included, before bbolt maps it. A file that does not add up is set aside, never
// used in part.
//
// Beside it, "<path>.stage" holds the parts of a set of which the last has not
// arrived. It is dropped at the next opening, and needs no format.
//
// A program refuses a file whose format number it does not know, and leaves it
// alone. Tokens, private keys and whatever else a global keeps secret are never
// sent to a zone, so the file has none.
package keysync
