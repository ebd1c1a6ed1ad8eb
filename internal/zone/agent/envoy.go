package agent

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/meridiankds/meridian/federation"
)

// endTimeout is how long Envoy may take to end once it was told to.
const endTimeout = 30 * time.Second

// EnvVarToken is the variable in which users of Kuma hand a proxy its token.
const EnvVarToken = "KUMA_DATAPLANE_RUNTIME_TOKEN"

// Envoy is the program to run.
type Envoy struct {
	Path string
	// Args follow those of the agent, and take the place of those that name the same.
	Args []string
	// Out and Err are where it writes to.
	Out, Err io.Writer
	// Signals are passed on to it; nil: none. What ends the context of [Agent.RunEnvoy] makes it
	// a SIGTERM.
	Signals <-chan os.Signal
	// AdminPort is where its admin interface listens on loopback. 0 is where the proxy's
	// resource says, and without that a socket in the agent's folder.
	AdminPort uint32
	// SOTW has it ask for all resources at each change, instead of for what has changed.
	SOTW bool
	// DrainTime is how long requests may take to end once it is to end, and Hurry cuts that
	// short; nil: nothing does.
	DrainTime time.Duration
	Hurry     <-chan struct{}
	// LogLevel is one of ours, and LogJSON has it write its log as JSON; "" leaves that to it.
	LogLevel string
	LogJSON  bool
}

// RunEnvoy asks for the bootstrap, starts Envoy with it, and ends with Envoy. What Envoy
// reads, the token too, lies in a folder of the agent's own, for no other user, and is removed
// at the end. An Envoy that ends by itself with a status other than 0 is an error.
func (a *Agent) RunEnvoy(ctx context.Context, e Envoy) (err error) {
	path, err := exec.LookPath(e.Path)
	if err != nil {
		return federation.Errorf(federation.Invalid, "--envoy %s cannot be run: %w", e.Path, plain(err)).
			WithHint("name Envoy's binary")
	}
	dir, err := a.makeWorkDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dir.remove()) }()
	secrets := a.secretsIn(dir.path)
	if err := secrets.write(); err != nil {
		return err
	}
	admin, err := a.adminOf(e, dir.path)
	if err != nil {
		return err
	}
	config, err := a.bootstrap(ctx, func(q *bootstrapRequest) { a.forEnvoy(q, e, secrets, admin) })
	if err != nil {
		return ended(ctx, err)
	}
	file := filepath.Join(dir.path, "envoy.yaml")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return federation.Errorf(federation.Internal, "writing the bootstrap: %w", err)
	}
	cmd := e.command(path, file)
	group, groupCtx := errgroup.WithContext(ctx)
	started, over := make(chan error, 1), make(chan struct{})
	group.Go(func() error { defer close(over); return runToTheEnd(ctx, cmd, started) })
	if err := <-started; err != nil {
		_ = group.Wait() // it is what was not started
		return federation.Errorf(federation.Invalid, "--envoy %s cannot be run: %w", e.Path, plain(err)).
			WithHint("name Envoy's binary")
	}
	a.cfg.Logger.Info("envoy runs", "pid", cmd.Process.Pid, "admin", admin.String())
	group.Go(func() error { e.forward(cmd.Process, over); return nil })
	group.Go(func() error { secrets.follow(groupCtx, over); return nil })
	group.Go(func() error { a.end(ctx, e, admin, cmd.Process, over); return nil })
	return group.Wait()
}

// forEnvoy adds to a request for a bootstrap what an Envoy of ours needs.
func (a *Agent) forEnvoy(q *bootstrapRequest, e Envoy, s *secretFiles, admin adminInterface) {
	q.Workdir, q.AdminPort = filepath.Dir(s.token), e.AdminPort
	if !e.SOTW {
		q.Features = append(q.Features, featureDelta)
	}
	if s.ca != "" {
		q.CACert = "" // Envoy has them from its file
	}
	q.Agent = &agentOfRequest{TokenFile: s.token, CAFile: s.ca, AdminSocket: admin.socket}
	for _, address := range a.cfg.Addresses {
		q.Agent.ControlPlanes = append(q.Agent.ControlPlanes, strings.TrimPrefix(address, "https://"))
	}
}

// runToTheEnd starts Envoy and waits for its end. Where this process is killed, Envoy is told
// to end: Linux does that when the thread ends that has started it, which therefore stays.
func runToTheEnd(ctx context.Context, cmd *exec.Cmd, started chan<- error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	endWithParent(cmd)
	err := cmd.Start()
	started <- err
	if err != nil {
		return nil // the caller says so
	}
	return exitOf(ctx, cmd.Wait())
}

// levels are Envoy's words for ours, where they differ.
var levels = map[string]string{"warn": "warning"}

// jsonLines is the format of a log line in JSON, in Envoy's own language.
const jsonLines = `{"time":"%Y-%m-%dT%T.%e%z","level":"%l","component":"envoy","logger":"%n","msg":"%j"}`

// command is Envoy with its arguments. Its environment is the agent's, but for the
// token.
func (e Envoy) command(path, file string) *exec.Cmd {
	args := []string{"--config-path", file, "--disable-hot-restart"}
	add := func(value string, names ...string) {
		given := func(arg string) bool {
			name, _, _ := strings.Cut(arg, "=")
			return slices.Contains(names, name)
		}
		if value != "" && !slices.ContainsFunc(e.Args, given) {
			args = append(args, names[0], value)
		}
	}
	add(cmp.Or(levels[e.LogLevel], e.LogLevel), "--log-level", "-l")
	if e.LogJSON {
		add(jsonLines, "--log-format")
	}
	add(strconv.Itoa(int(max(1, e.DrainTime.Round(time.Second).Seconds()))), "--drain-time-s")
	cmd := exec.Command(path, append(args, e.Args...)...)
	cmd.Stdout, cmd.Stderr = e.Out, e.Err
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, EnvVarToken+"=") })
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

// end waits for the end of ctx, lets requests under way end, and ends Envoy.
func (a *Agent) end(ctx context.Context, e Envoy, admin adminInterface, process *os.Process, over <-chan struct{}) {
	select {
	case <-over:
		return
	case <-ctx.Done():
	}
	a.drain(admin, e, over)
	_ = process.Signal(syscall.SIGTERM) // it may have ended this very moment, as below
	timer := time.NewTimer(endTimeout)
	defer timer.Stop()
	select {
	case <-over:
	case <-timer.C:
		_ = process.Kill()
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
