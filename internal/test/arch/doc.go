// Package arch holds no code: its tests prove that the packages of Meridian import
// only what lies in lower layers, that each library is imported where ARCHITECTURE.md
// says, that a struct which serves an interface says which methods it has, that neither
// a zone nor the KDS can link private key code, that no test or tool is linked into a
// program, that packages stay small, and that every package says what it is for.
package arch
