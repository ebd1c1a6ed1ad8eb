// Package disk holds what both programs do with files beyond reading and writing
// them: it checks a bbolt file before bbolt maps it, locks files between processes,
// and follows files that are replaced while the program runs.
package disk
