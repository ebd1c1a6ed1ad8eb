// Command bench measures Meridian against the budgets that its design sets, each
// figure beside its baseline in the same run: machines are noisy, ratios much less.
//
//	scripts/bench [NAME…] [--quick] [--json FILE]
//
// builds the programs and this one and runs it. Every row measures servers and
// load in processes of their own: the real bin/global and bin/zone, or this program
// once more in a role (role.go), where a figure needs a stamp from inside. What is
// compared is measured turn by turn, so that whatever else the machine does slows
// both. Every row checks its own results and fails, instead of printing a figure,
// where one is wrong; --quick runs all of them small, for these checks alone.
//
// The command is no part of what is delivered: nothing imports it, and neither
// binary links it. It needs Linux, whose /proc it reads.
package main
