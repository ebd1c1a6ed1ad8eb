// Package hints finds the command lines that the source tells operators to
// type: in hints, messages, examples and log lines. Tests of the programs hold
// each against the program, so that no hint sends anybody to a command that does
// not exist.
package hints
