package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// watchable are the commands that --watch repeats.
var watchable = []string{
	"get global-secrets", "get secrets", "get meshes", "get zones", "get public-keys", "get revocations", "get cut-offs", "get audit", "get tokens",
	"status", "inspect zones", "inspect zone", "keys list", "seal status", "cluster status", "certs expelled", "certs trusted", "config list",
}

// TestWatchIsWhereThingsAreShown: what shows what is there can be watched, and nothing else can.
func TestWatchIsWhereThingsAreShown(t *testing.T) {
	var found []string
	leaves(newRunApp(t).Commands, nil, func(words []string, c *cli.Command) {
		if slices.ContainsFunc(c.Flags, func(f cli.Flag) bool { return f.Names()[0] == "watch" }) {
			found = append(found, strings.Join(words, " "))
		}
	})
	slices.Sort(found)
	want := slices.Clone(watchable)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Errorf("--watch is at %q, want %q", found, want)
	}
}

// newRunApp is the program as it is once it ran: with what every command has.
func newRunApp(t *testing.T) *cli.App {
	app := newApp(console.IO{In: strings.NewReader(""), Out: &output{}, Err: &output{}})
	if code := console.Run(t.Context(), app, []string{"global", "--help"}); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return app
}

// watched runs a command with --watch against what handler answers, until it calls stop.
func watched(t *testing.T, line string, handler func(w http.ResponseWriter, r *http.Request, shown string, stop func())) (code int, out, errs string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var o, e output
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r, o.String(), stop) }))
	defer server.Close()
	app := newApp(console.IO{In: strings.NewReader(""), Out: &o, Err: &e})
	code = console.Run(ctx, app, append(append([]string{"global"}, strings.Fields(line)...), "--watch", "--address", server.URL))
	return code, o.String(), e.String()
}

// TestEveryWatchAsksAgain: each of them shows once, asks again, and ends well with Ctrl-C.
func TestEveryWatchAsksAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: --watch asks again after two seconds")
	}
	t.Parallel()
	var wait sync.WaitGroup
	for _, line := range watchable {
		if line == "config list" { // asks nobody
			continue
		}
		if line == "inspect zone" {
			line += " west"
		}
		e := newElection(t, 0)
		wait.Go(func() {
			again := false
			var mu sync.Mutex
			code, out, errs := watched(t, line, func(w http.ResponseWriter, r *http.Request, shown string, stop func()) {
				mu.Lock()
				defer mu.Unlock()
				if shown != "" {
					again = true
					stop()
				}
				e.handler.ServeHTTP(w, r)
			})
			if code != console.ExitOK || !again || out == "" || strings.Contains(errs, "error:") {
				t.Errorf("global %s: exit code %d, asked again: %v\n%s%s", line, code, again, out, errs)
			}
		})
	}
	wait.Wait()
}

// TestWatchShowsWhatChanged: the same is not shown twice, a change is, and a member that does not
// answer for a moment is asked again.
func TestWatchShowsWhatChanged(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped with -short: --watch asks again after two seconds")
	}
	t.Parallel()
	asked := 0
	var mu sync.Mutex
	code, out, errs := watched(t, "get zones --quiet", func(w http.ResponseWriter, _ *http.Request, _ string, stop func()) {
		mu.Lock()
		defer mu.Unlock()
		asked++
		zones := []apitypes.Zone{{Type: "Zone", Name: "east"}}
		switch asked {
		case 3:
			problem(w, apitypes.Error{Status: 503, Title: "Unavailable", Detail: "no leader is known at present", Reason: "no_leader"})
			return
		case 4:
			zones = append(zones, apitypes.Zone{Type: "Zone", Name: "west"})
		case 5:
			stop()
		}
		reply(w, listed(zones))
	})
	if code != console.ExitOK || out != "east\n\neast\nwest\n" || !strings.Contains(errs, "warning: no leader is known at present") {
		t.Errorf("exit code %d\n%q\n%s", code, out, errs)
	}
}
