// Command kubestandin runs the stand-in for a Kubernetes API server that package
// kubetest is, for stories that are told by scripts:
//
//	kubestandin DIR [FILE=NAMESPACE/ACCOUNT[/POD]@AUDIENCE…]
//
// It writes a kubeconfig, ca.crt and token to DIR, and beside them each FILE with
// a token that ends in an hour, prints "ready", and serves on a free port of
// loopback until it is told to end.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/meridiankds/meridian/internal/test/kube"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kubestandin: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: kubestandin DIR [FILE=NAMESPACE/ACCOUNT[/POD]@AUDIENCE…]")
	}
	dir, caller := args[0], rand.Text()
	api := kube.NewAPI(caller)
	for _, arg := range args[1:] {
		file, account, err := parse(arg)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(api.Token(account)), 0o600); err != nil {
			return err
		}
	}
	server, err := api.Serve(dir, caller)
	if err != nil {
		return err
	}
	defer server.Close()
	fmt.Println("ready")
	<-ctx.Done()
	return nil
}

func parse(arg string) (file string, who kube.Account, err error) {
	file, rest, ok := strings.Cut(arg, "=")
	path, audience, aimed := strings.Cut(rest, "@")
	parts := strings.Split(path, "/")
	if !ok || !aimed || len(parts) < 2 || len(parts) > 3 {
		return "", who, fmt.Errorf("%q is not FILE=NAMESPACE/ACCOUNT[/POD]@AUDIENCE", arg)
	}
	who = kube.Account{Namespace: parts[0], Name: parts[1], Audience: audience, Expires: time.Now().Add(time.Hour)}
	if len(parts) == 3 {
		who.Pod = parts[2]
	}
	return file, who, nil
}
