// Package loopback has what tests need that listen on loopback beside others: a port that a
// system gives to one test was another's a moment ago, and who called that may call again.
package loopback

import "net"

// AcceptFrom accepts the connection that comes from an address, and closes those of
// strangers.
func AcceptFrom(l net.Listener, from net.Addr) (net.Conn, error) {
	for {
		conn, err := l.Accept()
		if err != nil || conn.RemoteAddr().String() == from.String() {
			return conn, err
		}
		conn.Close()
	}
}
