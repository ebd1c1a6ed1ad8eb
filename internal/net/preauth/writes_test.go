package preauth

import (
	"net"
	"testing"
	"testing/synctest"
)

// TestWhoTakesNoAnswersIsNotReadFrom: whoever sends and does not take the answers does not
// make the server queue them. Protocols that are not HTTP are left alone.
func TestWhoTakesNoAnswersIsNotReadFrom(t *testing.T) {
	for name, tc := range map[string]struct {
		proved  bool
		version int
		waits   bool
	}{
		"a stranger":            {false, 0, true},
		"one who speaks HTTP/2": {true, 2, true},
		"one who speaks HTTP/1": {true, 1, false},
		"a member, over Raft":   {true, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				c := New(Config{}).newConn(server, &port{}, false, false)
				c.proved.Store(tc.proved)
				c.pending.version = tc.version
				read := false
				go func() { _, _ = c.Write([]byte("answer")) }()
				synctest.Wait()
				go func() {
					_, _ = c.Read(make([]byte, 1))
					read = true
				}()
				go func() { _, _ = client.Write([]byte("?")) }()
				synctest.Wait()
				if read == tc.waits {
					t.Errorf("it was read from while an answer waits: %v", read)
				}
				if _, err := client.Read(make([]byte, 10)); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if !read {
					t.Error("it is not read from once it has taken the answer")
				}
				_ = c.Close()
				_ = client.Close()
			})
		})
	}
}
