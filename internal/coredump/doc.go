// Package coredump keeps the memory of this process out of core files: it holds keys
// that are nowhere on disk unsealed.
package coredump
