// Package keyring is every key that verifies tokens in a process, a zone's or a
// global's, and the settings that say so.
//
// [Settings] are the section dpServer of a configuration file, under the keys that
// users of Kuma know (dpServer.authn…). Zones and globals read it from one and the
// same file: how proxies authenticate, and for tokens the keys that verify them. A
// [Keyring] joins those keys with the ones that the global issues with, into the one
// [cptoken.View] that everything in the process is held against, and follows the
// files that they stand in.
package keyring
