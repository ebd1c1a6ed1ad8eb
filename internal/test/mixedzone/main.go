// Command mixedzone stands for the member of a newer version towards zones of older ones:
// built with the tag meridian_synthetic it sends a kind and an algorithm that no release
// has, and revokes all the time. Tests only.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/internal/test/kdstest"
	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/kds/server"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Names of the files that the member leaves for the test.
const (
	controlPlaneToken = "west.cp"
	goodToken         = "good.token"
	revokedToken      = "revoked.token"
)

// run serves a state on a port that it prints, and tells what sessions lack whenever that
// changes, until it is interrupted. Tokens for the zone west are left in the directory
// that the first argument names.
func run(ctx context.Context) error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: %s DIRECTORY", os.Args[0])
	}
	source := kdstest.NewSource()
	changes, err := state(os.Args[1])
	if err != nil {
		return err
	}
	source.Become(kdstest.Revision(1, 20), changes...)
	s := server.New(server.Config{Source: source, Authenticator: west{}, Logger: slog.New(slog.DiscardHandler), Member: "newer"})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	load := time.NewTicker(5 * time.Millisecond)
	defer load.Stop()
	for {
		changed := s.SessionsChanged()
		for _, session := range s.Sessions() {
			if session.Full {
				fmt.Printf("%s %q\n", session.Acked, session.NotHeld)
			}
		}
		for again := true; again; {
			select {
			case <-changed:
				again = false
			case <-load.C:
				source.Add(uuid.NewString())
			case err := <-done:
				return err
			}
		}
	}
}

// west admits whoever shows a token as the zone west.
type west struct{}

// Authenticate implements kds.Authenticator.
func (west) Authenticate(context.Context, kds.Credentials) (kds.Admission, error) {
	return kds.Admission{Zone: "west", Method: kds.MethodControlPlaneToken, TokenSerial: 1, TokenID: "1", Authenticated: true}, nil
}

// state is what the member has: something of every kind and algorithm that it knows. The
// first zone key is a real one, and signs the tokens.
func state(dir string) (out []cptoken.Change, err error) {
	public, revoked, err := tokens(dir)
	if err != nil {
		return nil, err
	}
	for i, kind := range cptoken.Kinds {
		if !kind.AtZones() || kind.PerMesh() {
			continue
		}
		for j, alg := range cptoken.Algorithms {
			der := kdstest.DER()
			if kind == cptoken.Zone && j == 0 {
				der = public
			}
			id := cptoken.KeyID{Kind: kind, KID: fmt.Sprint(j + 1)}
			k, err := cptoken.NewPublicKey(id, alg, cptoken.Active, der, nil)
			if err != nil {
				return nil, err
			}
			out = append(out, cptoken.Change{Index: uint64(3*i + 1), Key: k})
		}
		run := &cptoken.RevokedRun{Kind: kind, IDs: []cptoken.RevokedID{{ID: revoked}}}
		out = append(out, cptoken.Change{Index: uint64(3*i + 2), Revoked: run})
	}
	return out, nil
}

// tokens leaves a good and a revoked token, and what zones show, and returns the public
// part of the key that signed, and the id of the revoked one.
func tokens(dir string) (der []byte, revoked string, err error) {
	key, err := issue.Generate(issue.Ref{Kind: cptoken.Zone, Serial: 1})
	if err != nil {
		return nil, "", err
	}
	for _, name := range []string{controlPlaneToken, goodToken, revokedToken} {
		token, claims, err := key.Issue(cptoken.Claims{Kind: cptoken.Zone, Zone: "west", Scope: []cptoken.Scope{cptoken.ScopeEgress}}, time.Hour, time.Now())
		if err != nil {
			return nil, "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(token), 0o600); err != nil {
			return nil, "", err
		}
		revoked = claims.ID // of the last one
	}
	return key.PublicDER(), revoked, nil
}
