// Package federation holds the words that every other package of Meridian
// speaks: who a zone is and whether it may join ([Zone]), where in the global's
// history a copy of its state stands ([Revision]), and what went wrong in terms
// that an operator can act on ([Error]).
//
// The package is pure: it imports the standard library only, reads no clock and
// does no I/O, so everything in it can be replicated, compared and tested as a
// value.
package federation
