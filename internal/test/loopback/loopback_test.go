package loopback

import (
	"io"
	"net"
	"testing"
)

func TestAcceptFrom(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var conns [3]net.Conn
	for i := range conns {
		if conns[i], err = net.Dial("tcp", l.Addr().String()); err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	got, err := AcceptFrom(l, conns[2].LocalAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if got.RemoteAddr().String() != conns[2].LocalAddr().String() {
		t.Errorf("it is from %s", got.RemoteAddr())
	}
	if _, err := conns[0].Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("a stranger is told %v", err)
	}
	l.Close()
	if _, err := AcceptFrom(l, conns[0].LocalAddr()); err == nil {
		t.Error("a closed listener accepts")
	}
}
