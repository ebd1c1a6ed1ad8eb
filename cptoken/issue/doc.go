// Package issue is everything that touches private key material: making and
// importing signing keys, issuing tokens, checking control plane tokens, whose key
// is symmetric, and sealing key material so that the replicated state holds none
// in the clear.
//
// Only the global links it. Key material is reachable through [SigningKey.Material]
// and [SealKeys.Open] alone; every type here that holds some prints as its name
// and id, whatever the verb.
package issue
