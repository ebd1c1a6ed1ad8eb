//go:build !unix

package disk

// Private runs make: what it makes has the rights of its directory.
func Private(make func()) { make() }
