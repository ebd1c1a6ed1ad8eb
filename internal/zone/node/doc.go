// Package node is a whole zone control plane as a value: `zone server` runs
// one, and tests run several in one process.
//
// [New] validates, opens the zone's file and binds every port; it starts
// nothing. [Node.Run] serves from the file at once and keeps it current over KDS
// for as long as the global answers. The global may be away for as long as it
// likes.
package node
