// Package apiclient is how the command line talks to a running node: the HTTP
// API of a global ([Global]), the API and the proxies' port of a zone ([Zone],
// [Proxies]) and the health port of either ([Health]).
//
// [Resolve] finds out where to and as whom from flags, environment and a node's
// data folder. Every answer is read to a bound; every failure is a
// [federation.Error] that says which node was asked and what to do next. What a
// node answers as an error arrives with the node's own detail, hint, reason and
// fields.
//
// A call that changes something and breaks after the request was sent has an
// outcome that nobody here knows: that is the code UnknownOutcome, and nothing
// is sent again. A change that a node refused because the cluster elects a leader
// changed nothing: it is sent again for ten seconds, under the same request id.
//
// Tokens are sent where they were meant to go and nowhere else: not in the clear
// to another machine, not to where a redirect points, not into an error.
package apiclient
