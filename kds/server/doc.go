// Package server is the global's end of kds: it admits zones, keeps a session for
// each and sends them what they lack. Where state comes from and who may speak for a
// zone is behind kds.Source, kds.Catalog and kds.Authenticator.
package server
