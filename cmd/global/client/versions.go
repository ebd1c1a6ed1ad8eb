package client

import (
	"regexp"
	"slices"
	"strconv"
)

// released is a version as `git describe` writes it: numbers, and how many commits later.
var released = regexp.MustCompile(`^v?(\d{1,6})\.(\d{1,6})\.(\d{1,6})(?:-(\d{1,6})-g[0-9a-f]+)?(?:-dirty)?$`)

// numbers are those of a version, in the order in which they count; ok is false for one that
// has none.
func numbers(version string) (of [4]int, ok bool) {
	m := released.FindStringSubmatch(version)
	if m == nil {
		return of, false
	}
	for i, digits := range m[1:] {
		of[i], _ = strconv.Atoi(digits) // absent: none later
	}
	return of, true
}

// Newest returns the newest of several versions: of those that cannot be compared the first.
func Newest(versions ...string) (newest string) {
	for _, v := range versions {
		at, ok := numbers(v)
		than, comparable := numbers(newest)
		if newest == "" || ok && comparable && slices.Compare(at[:], than[:]) > 0 {
			newest = v
		}
	}
	return newest
}

// Dated is a version with what an operator should know of it: that it is older than the
// newest, or that it is another one where nobody can tell which is older.
func Dated(version, newest string) string {
	at, ok := numbers(version)
	than, comparable := numbers(newest)
	switch {
	case version == "" || newest == "" || version == newest:
	case ok && comparable && slices.Compare(at[:], than[:]) < 0:
		return version + " (old)"
	case !ok || !comparable:
		return version + " (differs)"
	}
	return version
}
