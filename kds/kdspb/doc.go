// Package kdspb is generated from the .proto files beside it by scripts/generate:
// meridian.v1.Changes, and those messages of Kuma's KDS services that are not
// Envoy's. Only kds uses it.
package kdspb
