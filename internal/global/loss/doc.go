// Package loss finds out that the cluster's disks have lost acknowledged changes, and does
// what follows. Zones show the position of their copy when they resume, and members theirs
// when they meet; what is of the present history and not in its past proves a loss.
//
// Whoever is shown such a position notes it ([Watch.Note]); a member that does not lead
// passes it on with its report. The leader reads linearizably, judges again and proposes a
// new history, at most once an hour ([raftstore.Store.ProveLoss]). In it zones get the full
// state, and keep what they refuse. A position of a newer history that nobody here knows
// is an alarm and nothing else: two clusters share this name, or the disks went back behind
// a new history. An operator decides (global cluster confirm-loss --adopt).
//
// After any new history a signing key that a zone knows as removed, as its acknowledgement
// says, is blocked and replaced at once: what it signs is refused there.
package loss
