// Package clocks compares the clocks of a cluster's members. Each member asks the others
// what time it is, every few seconds, and judges by that its own clock and theirs.
//
// The right time is what a majority of all voters agree on within [Tolerance]: a clock
// that is further from their middle is off, and who has it issues nothing, since what it
// would issue escapes a cut-off or is not valid yet. Without such a majority the time
// counts that was last agreed on: a member that is cut off from the others, or one of two,
// still knows that its own clock was set. Where nothing ever was agreed on, nobody is off:
// between two clocks that differ there is no telling which is wrong, and it is said that
// they differ.
//
// Comparisons are made on a scale of the table's own that no step of the wall clock
// moves, so that a member notices a step of its own clock at once, before it has
// asked anybody again, and while it can reach nobody.
package clocks
