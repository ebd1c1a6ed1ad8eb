//go:build !unix

package preauth

import "log/slog"

// Descriptors returns how many files the process may have open.
func Descriptors() int { return fallbackDescriptors }

// RaiseDescriptors has nothing to raise here.
func RaiseDescriptors(*slog.Logger) {}
