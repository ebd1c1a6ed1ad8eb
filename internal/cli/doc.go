// Package cli is the voice of Meridian's programs: how they read a command
// line, and how everything they say looks.
//
// Data goes to standard output and nothing else does; the rest goes to standard
// error, each line led by the program's name. A failure is two lines at most:
//
//	global: error: the zone-token key 3 was not found
//	global: hint: list the keys with `global keys list`
//
// in lower case and with no full stop. The exit code is 0 where all went well, 1
// where it did not, and 2 where the command line itself was wrong ([Usage]).
//
// [Run] drives a urfave/cli/v2 application. The library reads flags only in
// front of arguments, answers a mistyped flag with the whole help on standard
// output and takes an unknown command for an argument; Run therefore puts the
// command line in order first, knows help and version itself, and hands the
// library only what it reads well.
//
// Whatever is printed may have come from another machine, so it is cleaned of
// control characters, and of anything that has the shape of a token, before a
// terminal sees it ([Line]).
package cli
