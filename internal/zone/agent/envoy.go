package agent

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
)

// drainTimeout is how long Envoy may take to end once it was told to.
const drainTimeout = 30 * time.Second

// EnvVarToken is the variable in which users of Kuma hand a proxy its token.
const EnvVarToken = "KUMA_DATAPLANE_RUNTIME_TOKEN"

// Envoy is the program to run.
type Envoy struct {
	Path string
	// Args follow those of the agent.
	Args []string
	// Out and Err are where it writes to.
	Out, Err io.Writer
	// Signals are passed on to it; nil: none. What ends ctx makes it a SIGTERM.
	Signals <-chan os.Signal
}

// RunEnvoy asks for the bootstrap, starts Envoy with it, and ends with Envoy. The
// bootstrap may hold the token: it lies in a folder of the agent's own, for no
// other user, and is removed at the end. An Envoy that ends by itself with a
// status other than 0 is an error.
func (a *Agent) RunEnvoy(ctx context.Context, e Envoy) (err error) {
	path, err := exec.LookPath(e.Path)
	if err != nil {
		return federation.Errorf(federation.Invalid, "--envoy %s cannot be run: %w", e.Path, plain(err)).
			WithHint("name Envoy's binary")
	}
	dir, err := os.MkdirTemp("", "meridian-proxy-")
	if err != nil {
		return federation.Errorf(federation.Internal, "making a folder for the bootstrap: %w", err).
			WithHint("TMPDIR must be a folder that this user may write to")
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	tokenPath, err := a.tokenFile(dir)
	if err != nil {
		return err
	}
	config, err := a.bootstrap(ctx, tokenPath, dir)
	if err != nil {
		return ended(ctx, err)
	}
	file := filepath.Join(dir, "envoy.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return federation.Errorf(federation.Internal, "writing the bootstrap: %w", err)
	}
	cmd := e.command(ctx, path, file)
	if err := cmd.Start(); err != nil {
		return federation.Errorf(federation.Invalid, "--envoy %s cannot be run: %w", e.Path, plain(err)).
			WithHint("name Envoy's binary")
	}
	a.cfg.Logger.Info("envoy runs", "pid", cmd.Process.Pid)
	group, groupCtx := errgroup.WithContext(ctx)
	over := make(chan struct{})
	group.Go(func() error { defer close(over); return exitOf(ctx, cmd.Wait()) })
	group.Go(func() error { e.forward(cmd.Process, over); return nil })
	group.Go(func() error { a.watchToken(groupCtx, over, config); return nil })
	return group.Wait()
}

// command is Envoy with its arguments. Its environment is the agent's, but for the
// token.
func (e Envoy) command(ctx context.Context, path, file string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, append([]string{"--config-path", file, "--disable-hot-restart"}, e.Args...)...)
	cmd.Stdout, cmd.Stderr = e.Out, e.Err
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, EnvVarToken+"=") })
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = drainTimeout
	return cmd
}

// forward passes signals on until Envoy is over.
func (e Envoy) forward(process *os.Process, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case s := <-e.Signals:
			_ = process.Signal(s) // it may have ended this very moment
		}
	}
}

// exitOf says how Envoy ended.
func exitOf(ctx context.Context, err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil, ctx.Err() != nil:
		return nil
	case errors.As(err, &exit):
		return federation.Errorf(federation.Unavailable, "envoy ended: %s", exit.ProcessState).
			WithHint("what it wrote before says why")
	}
	return federation.Errorf(federation.Internal, "envoy: %w", err)
}

// tokenFile is what Envoy may read the token from where the zone has it do so: the
// file that was named, else one that is made for it.
func (a *Agent) tokenFile(dir string) (string, error) {
	if a.cfg.TokenPath != "" || a.cfg.Token == nil {
		return a.cfg.TokenPath, nil
	}
	token, err := a.token()
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "token")
	if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
		return "", federation.Errorf(federation.Internal, "writing the token for Envoy: %w", err)
	}
	return path, nil
}

// watchToken says, once for each new token, that an Envoy which has the token in
// its bootstrap goes on with the old one.
func (a *Agent) watchToken(ctx context.Context, over <-chan struct{}, bootstrap []byte) {
	had, err := a.token()
	if err != nil || had == "" || !strings.Contains(string(bootstrap), had) {
		return
	}
	ticker := time.NewTicker(a.lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-ticker.C:
			if token, err := a.token(); err == nil && token != had {
				had = token
				a.cfg.Logger.Warn("the token was replaced, and this Envoy keeps the former until it is started again",
					"hint", "set dpServer.auth.useTokenPath at the zone: Envoy then reads the file at each connection")
			}
		}
	}
}

// plain is what went wrong with a file, without its name.
func plain(err error) error {
	var e *exec.Error
	var p *os.PathError
	switch {
	case errors.As(err, &p):
		return p.Err
	case errors.As(err, &e):
		return e.Err
	}
	return err
}
