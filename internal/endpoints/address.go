package endpoints

import (
	"net"
	"strconv"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// CheckListen returns an error that names the flag unless address is one to
// listen on: HOST:PORT, where an empty host is every address of this machine and
// port 0 a free one.
func CheckListen(flag, address string) error {
	return check(flag, address, true)
}

// CheckDial returns an error that names the flag unless address is one to
// connect to: HOST:PORT with both there.
func CheckDial(flag, address string) error {
	return check(flag, address, false)
}

func check(flag, address string, listen bool) error {
	example := "127.0.0.1:5681"
	if !listen {
		example = "global.example.com:5685"
	}
	bad := func(format string, args ...any) error {
		return federation.InvalidField(flag, format, args...).
			WithHint("write HOST:PORT, for example %s %s; an IPv6 address stands in brackets, [::1]:5681", flag, example)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || strings.ContainsAny(host, "/ \t\r\n@") {
		return bad("%.80q is not HOST:PORT", address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil:
		return bad("%.80q has no port from 0 to 65535", address)
	case !listen && host == "":
		return bad("%.80q names no host", address)
	case !listen && n == 0:
		return bad("%.80q names no port that can be connected to", address)
	}
	return nil
}
