package main

import (
	"context"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// echo listens and sends back what it hears.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

func tell(l *link, what, argument string) int {
	w := httptest.NewRecorder()
	l.ServeHTTP(w, httptest.NewRequest("POST", "/"+what, strings.NewReader(argument)))
	return w.Code
}

func TestRelay(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l, done := newLink(), make(chan error, 1)
	go func() { done <- l.serve(ctx, listener, echo(t)) }()
	defer func() {
		cancel()
		l.set(func() { l.closed = true })
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hears := func(within time.Duration) bool {
		if _, err := io.WriteString(conn, "x"); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		_, err := io.ReadFull(conn, make([]byte, 1))
		return err == nil
	}
	if !hears(time.Minute) {
		t.Fatal("the relay passes nothing on")
	}
	for _, direction := range []string{"up", "down"} {
		if code := tell(l, "stall", direction); code != 200 {
			t.Fatalf("stall: %d", code)
		}
		if hears(50 * time.Millisecond) {
			t.Errorf("stalled %s, and bytes pass", direction)
		}
		tell(l, "flow", "")
		// What was held back arrives first.
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Fatalf("after %s flows again: %v", direction, err)
		}
	}
	tell(l, "delay", "30ms")
	began := time.Now()
	if !hears(time.Minute) || time.Since(began) < 60*time.Millisecond {
		t.Errorf("there and back in %s over a link that delays 30 ms each way", time.Since(began))
	}
	if tell(l, "delay", "x") != 400 || tell(l, "other", "") != 404 {
		t.Error("nonsense is taken")
	}
}
