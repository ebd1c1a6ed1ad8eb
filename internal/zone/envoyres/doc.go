// Package envoyres holds an Envoy resource in the form in which a zone serves it:
// packed once, named by its content, and with what it refers to.
//
// References decide the order in which a proxy is given a change (package rollout).
// They are found in a resource's fields, and in those of every message packed inside
// of it: a field of type string with "cluster" in its name names a cluster, unless
// it is in the table nothing; the fields that make Envoy ask for another resource (by RDS,
// SRDS, VHDS, SDS, ECDS and EDS) are in the table subscriptions. A configuration without a
// type, as in a TypedStruct, may name a cluster in any of its strings. A reference to
// what does not exist costs nothing, so that one too many does little harm.
package envoyres
