// Package audit keeps what was done through a member, and who was refused, as JSON
// lines in its data folder: append-only, bounded in size, read back newest first.
//
// # Files
//
// <data folder>/audit/<class>-<seq>.jsonl, mode 0600, one [Record] a line; seq is the
// number of the first one. Each [Class] has files of its own, and its own share of the
// room, so that refusals, which strangers cause, push out no act, and what issuers and
// revokers do pushes out nothing that administrators did. When a file is full the next
// begins and the oldest goes.
//
// # Acts
//
// What changes something is written twice: [Log.Begin] before, [Act.End] after. Begin
// returns when the line is on the disk; where it cannot be, the act must not take
// place. An act whose process died in between is found at the next start and ended as
// of unknown outcome. A token is one line, which is written before the token is signed
// and durable before it is handed out ([Log.Append], [Line.Durable]), so that the lines
// of tokens that are made at the same time share a sync. A crash in between leaves the
// line of a token that nobody has; one that could not be signed gets a second line. So
// nothing that was done is missing, whatever the disk does; the price is that with a
// full disk a member changes and issues nothing, which Raft would not let it either.
//
// [Log.Refuse] is bounded in lines a second and never waits for the disk: a line says
// how many were left out before it. A refusal that cannot be written is counted, and
// still refused.
//
// # Lines that were cut
//
// A crash may leave half a line at the end of a file. It was not acknowledged to
// anybody, and is cut off when the file is opened again.
package audit
