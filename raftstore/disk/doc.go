// Package disk keeps a member's data directory: node.json, which names the node and
// its cluster, raft.db and snapshots/. It notices what the disk gives back other than
// it was written: [CheckDirectory] reads every file before anything is opened for
// writing, and what Raft stores through [Log] and [OpenSnapshots] has checksums
// around it.
package disk
