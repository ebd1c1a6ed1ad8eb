// Package kuma speaks with Kuma's programs in their own resources: a [Catalog] makes
// them of a member's state for zones of Kuma's, and a [Mirror] reads those of a global
// of Kuma's for a zone of Meridian's. The streams they travel on are of the packages
// server and client.
package kuma
