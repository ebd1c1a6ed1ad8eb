// Package arch holds no code: its tests prove that the arrows between the
// packages of Meridian point the way that the README's picture shows, that each
// third-party module is imported in the one place that owns it, that neither a
// zone nor the KDS can link private key code, and that every package says what
// it is for.
package arch
