// Command mixedzone is a zone's copy with the client that fills it, or a member that
// sends to one, for the tests of versions that differ: they build it with and without the
// tag meridian_synthetic. Tests only.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds/client"
	"github.com/meridiankds/meridian/kds/server"
	"github.com/meridiankds/meridian/keysync"
)

// holding is what a zone says it has once it stands where the member does.
type holding struct {
	Vocabulary int
	Keys       []string
	NotHeld    []string
	Revoked    bool // the zone token "a"
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	if len(os.Args) == 4 && os.Args[1] == "zone" {
		return zone(ctx, os.Args[2], os.Args[3])
	}
	return member(ctx)
}

// member serves a state on a port that it prints, and tells what sessions lack whenever
// that changes, until it is interrupted.
func member(ctx context.Context) error {
	source := kdstest.NewSource()
	changes, err := state()
	if err != nil {
		return err
	}
	source.Become(kdstest.Revision(1, 20), changes...)
	s := server.New(server.Config{Source: source, Authenticator: &kdstest.Auth{}, Logger: slog.New(slog.DiscardHandler), Member: "newer"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	for {
		changed := s.SessionsChanged()
		for _, session := range s.Sessions() {
			if session.Full {
				fmt.Printf("%s %q\n", session.Acked, session.NotHeld)
			}
		}
		select {
		case <-changed:
		case err := <-done:
			return err
		}
	}
}

// state is what the member has: something of every kind and algorithm that it knows.
func state() (out []cptoken.Change, err error) {
	for i, kind := range cptoken.Kinds {
		if !kind.AtZones() || kind.PerMesh() {
			continue
		}
		for j, alg := range cptoken.Algorithms {
			id := cptoken.KeyID{Kind: kind, KID: fmt.Sprint(j + 1)}
			k, err := cptoken.NewPublicKey(id, alg, cptoken.Active, kdstest.DER(), nil)
			if err != nil {
				return nil, err
			}
			out = append(out, cptoken.Change{Index: uint64(3*i + 1), Key: k})
		}
		run := &cptoken.RevokedRun{Kind: kind, IDs: []cptoken.RevokedID{{ID: "a"}}}
		out = append(out, cptoken.Change{Index: uint64(3*i + 2), Revoked: run})
	}
	return out, nil
}

// zone joins the member, prints what it holds once it has acknowledged, and ends.
func zone(ctx context.Context, path, address string) error {
	store, err := keysync.Open(path, keysync.Options{Zone: "west"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	c := client.New(client.Config{
		Zone: "west", Instance: store.Instance(), Version: "1", Addresses: []string{address}, Sink: store,
		Token: func() (string, error) { return "west", nil }, Logger: slog.New(slog.DiscardHandler),
	})
	done := make(chan error, 2)
	go func() { done <- store.Run(ctx) }()
	go func() { done <- c.Run(ctx) }()
	for !c.Status().Current && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond) // a status has no channel
	}
	late := ctx.Err()
	cancel()
	for range 2 {
		if err := <-done; err != nil {
			return err
		}
	}
	if late != nil {
		return fmt.Errorf("never current: %+v", c.Status())
	}
	v := store.View()
	h := holding{Vocabulary: v.Vocabulary(), NotHeld: v.Skipped(), Revoked: v.Revoked(cptoken.Zone, "", "a")}
	for _, k := range v.Keys() {
		h.Keys = append(h.Keys, k.ID.String())
	}
	if err := store.Close(); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(h)
}
