//go:build !meridian_level_1

package state

// Level is the newest feature level that this program knows. A command or
// snapshot above it stops the node instead of being half understood. The cluster
// goes over to a level when every member has said that it knows it. What each added:
//
//	1  the first one
//	2  refusals are remembered under their request id; a history knows where it began;
//	   a registered key may get other bounds
//	3  the cluster has a secret, under which backups carry a MAC; nodes and certificates
//	   can be expelled; former seal keys are remembered
//	4  the state knows its lineage, a loss can be proved, and a key be blocked
//	5  zones are told which certificates were expelled
//	6  what a zone may keep can be withdrawn, replaced secrets do not come back
//
// The vocabulary of each is in vocabulary.go.
const Level = 6
