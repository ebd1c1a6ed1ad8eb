package preauth

import (
	"net"
	"net/netip"
	"strings"

	"github.com/meridiankds/meridian/federation"
)

// Source is whom a caller's cost is charged to. Unit is an IPv4 address or an IPv6
// /64, since whoever has one address of a /64 has all of them; Wide is the same IPv4
// address or the /48 of the /64, which is what one site is given.
type Source struct{ Unit, Wide netip.Prefix }

// SourceOf returns the source of a remote address. ok is false for addresses that are
// no IP address, as those of Unix sockets.
func SourceOf(remote net.Addr) (_ Source, ok bool) {
	if tcp, isTCP := remote.(*net.TCPAddr); isTCP {
		return sourceOfAddr(tcp.AddrPort().Addr())
	}
	if remote == nil {
		return Source{}, false
	}
	parsed, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return Source{}, false
	}
	return sourceOfAddr(parsed.Addr())
}

func sourceOfAddr(ip netip.Addr) (Source, bool) {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return Source{}, false
	}
	if ip.Is4() {
		p := netip.PrefixFrom(ip, 32)
		return Source{p, p}, true
	}
	unit, _ := ip.Prefix(64) // an IPv6 address has 128 bits
	wide, _ := ip.Prefix(48)
	return Source{unit, wide}, true
}

// ParseProxies reads the networks, or single addresses, of balancers. flag names them in
// the error.
func ParseProxies(flag string, values []string) (proxies []netip.Prefix, err error) {
	for _, value := range values {
		prefix, err := netip.ParsePrefix(value)
		if addr, single := netip.ParseAddr(value); single == nil && !strings.Contains(value, "/") {
			prefix, err = netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
		}
		if err != nil {
			return nil, federation.InvalidField(flag, "%.60q is neither a network nor an address, for example 192.0.2.0/24", value)
		}
		proxies = append(proxies, prefix.Masked())
	}
	return proxies, nil
}
