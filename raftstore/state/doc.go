// Package state is what the global replicates: signing keys (their private parts
// sealed), registered public keys, revocations and cut-offs, zones and meshes.
//
// [State] is a value without I/O. Its Apply takes a command and a Raft index and
// returns a result; it reads no clock and unseals nothing, so that every member that
// applies the same log comes to the same state. Captures of it are immutable and may
// be read by any goroutine.
//
// Commands are encoded as codec.go says, snapshots and backups as snapshot.go says;
// the messages in both are those of storepb/store.proto.
package state
