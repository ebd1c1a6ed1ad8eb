// Package tlsutil makes and reads the certificates of a cluster and turns them
// into TLS configurations.
//
// An identity is the URI SAN "meridian://<cluster>/<role>/<name>" (RFC 5280,
// section 4.2.1.6), never a common name; the role is node, zone or user, and a
// port accepts one role only. Peers speak TLS 1.3, everybody else 1.2 or newer.
package tlsutil
