package callers

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
)

// TestEnvoyDrainsAReplacedListener: a connection from before a listener was replaced goes on with
// the former routes while Envoy drains it, and finds its cluster, though nothing new refers to that
// and clusters that nothing used have gone meanwhile, one after another.
func TestEnvoyDrainsAReplacedListener(t *testing.T) {
	unused := func(r *rig, i int) string { return r.static(fmt.Sprintf("unused%d", i), "one", "") }
	inBothModes(t, func(t *testing.T, delta bool) {
		r := startRig(t, delta, func(r *rig) []string {
			return []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), r.static("c1", "one", ""), unused(r, 0), unused(r, 1), unused(r, 2)}
		})
		conn, err := net.Dial("tcp", "127.0.0.1:"+r.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		answers := bufio.NewReader(conn)
		ask := func() (status int, body string) {
			t.Helper()
			if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: any\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			data, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(data)
		}
		if status, body := ask(); status != 200 || body != "one" {
			t.Fatalf("before: %d %s", status, body)
		}
		now := []string{r.listener("r2", "b", never, ""), routes("r2", "c2"), r.static("c2", "two", "")}
		r.write(append(now, unused(r, 1), unused(r, 2))...)
		r.reaches("two")
		for i := range 3 {
			r.shows(fmt.Sprintf(`"name":"unused%d"`, i), false)
			if i == 0 {
				r.write(append(now, unused(r, 2))...)
			} else {
				r.write(now...)
			}
		}
		if status, body := ask(); status != 200 || body != "one" {
			t.Errorf("on the connection from before: %d %s", status, body)
		}
	})
}
