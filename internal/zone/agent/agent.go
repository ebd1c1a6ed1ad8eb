package agent

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/zone/resource"
)

const (
	firstBackoff = 500 * time.Millisecond
	longBackoff  = 30 * time.Second
	// callTimeout is for a bootstrap, and for the answer to a new stream.
	callTimeout = 15 * time.Second
	// lookEvery is how often the token is looked at.
	lookEvery = time.Second
)

// Config is what [New] needs.
type Config struct {
	// Addresses are those of the zone's control planes, https://host:port.
	Addresses []string
	// CAFile holds the CAs that the zone's certificate may be of, in PEM; "" is the
	// system's.
	CAFile string

	// Resource is what the proxy says of itself; nil where the zone knows it from
	// elsewhere, by Mesh (of a data plane proxy) and Name.
	Resource *resource.Resource
	Kind     resource.Kind
	Mesh     string
	Name     string

	// Token returns the token at this moment; nil: the proxy has none.
	Token func() (string, error)
	// TokenPath is the absolute path of the file that Token reads, which a bootstrap names where
	// the zone has proxies read it by themselves; "" where there is none.
	TokenPath string

	// Output takes the configuration, in Format.
	Output  *Printer
	Version string
	Logger  *slog.Logger // nil: no log
}

// Agent is one proxy's agent.
type Agent struct {
	cfg  Config
	tls  *tlsutil.Source      // nil: the system's CAs
	zone *tlsutil.Expectation // whose control planes they are
	next int                  // the address to try next

	firstBackoff, longBackoff, lookEvery, callTimeout time.Duration
}

// New checks the configuration and reads what it names. It starts nothing.
func New(cfg Config) (*Agent, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if len(cfg.Addresses) == 0 {
		return nil, federation.Errorf(federation.Invalid, "no zone control plane is named").
			WithHint("give --cp-address https://HOST:5678")
	}
	for i, address := range cfg.Addresses {
		clean, err := checkAddress(address)
		if err != nil {
			return nil, err
		}
		cfg.Addresses[i] = clean
	}
	a := &Agent{cfg: cfg, zone: tlsutil.Expect(tlsutil.RoleZone, ""), firstBackoff: firstBackoff, longBackoff: longBackoff, lookEvery: lookEvery, callTimeout: callTimeout}
	if cfg.CAFile != "" {
		source, err := tlsutil.OpenSource(tlsutil.Files{CA: cfg.CAFile}, tlsutil.Options{Logger: cfg.Logger})
		if err != nil {
			e := federation.AsError(err)
			return nil, federation.Errorf(e.Code, "--ca-cert-file: %s", e.Detail).WithCause(err).
				WithHint("name the PEM file of the CA that signed the zone's certificate; a zone keeps its own as tls/ca.crt in its data folder")
		}
		a.tls = source
	}
	if _, err := a.token(); err != nil {
		return nil, err
	}
	return a, nil
}

// checkAddress returns the address without what follows the port.
func checkAddress(address string) (string, error) {
	u, err := url.Parse(address)
	bad := func(why string) (string, error) {
		return "", federation.InvalidField("--cp-address", "%.100q %s", address, why).
			WithHint("write https://HOST:PORT, for example https://zone.example.com:5678")
	}
	switch {
	case err != nil || u.Host == "":
		return bad("is not the address of a control plane")
	case u.Scheme == "http":
		return bad("is without TLS, over which the token must not go")
	case u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "":
		return bad("is not the address of a control plane")
	case u.Port() == "":
		return "https://" + u.Host + ":5678", nil
	}
	return "https://" + u.Host, nil
}

// token is what the proxy shows now; "" where it has none.
func (a *Agent) token() (string, error) {
	if a.cfg.Token == nil {
		return "", nil
	}
	return a.cfg.Token()
}

// clientTLS is how to make one request from now on: to a zone, and always to the same one.
func (a *Agent) clientTLS() *tls.Config {
	if a.tls == nil {
		return a.zone.Demand(tlsutil.Client(nil))
	}
	a.tls.Check()
	return a.zone.Demand(a.tls.Client())
}

// streamTLS is clientTLS for a connection that stays: end ends it once the zone's
// certificate is of no CA that is trusted any more; over is called when it has ended.
func (a *Agent) streamTLS(end func(why error)) (config *tls.Config, over func()) {
	if a.tls == nil {
		return a.clientTLS(), func() {}
	}
	a.tls.Check()
	config, over = a.tls.ClientFollowed(end)
	return a.zone.Demand(config), over
}

// insist has try succeed: with one address after the other, at growing intervals,
// until ctx ends or every address has refused for good the token that the proxy
// shows.
func (a *Agent) insist(ctx context.Context, what string, try func(ctx context.Context, address, token string) error) error {
	wait, refusals := a.firstBackoff, 0
	for tried := 1; ; tried++ {
		address := a.cfg.Addresses[a.next%len(a.cfg.Addresses)]
		token, err := a.token()
		if err == nil {
			err = try(ctx, address, token)
		} else {
			// It could be read at start: it is being replaced, or will be.
			err = federation.Errorf(federation.Unavailable, "%s", err).WithCause(err)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
		a.next++
		if isFinal(err) {
			if refusals++; refusals >= len(a.cfg.Addresses) && !a.replaced(token) {
				return err
			}
		} else {
			refusals = 0
		}
		pause := time.Duration(0)
		if tried%len(a.cfg.Addresses) == 0 && refusals == 0 {
			pause = max(wait/2+rand.N(wait/2+1), federation.AsError(err).RetryAfter)
			wait = min(2*wait, a.longBackoff)
		}
		e := federation.AsError(err)
		a.cfg.Logger.Warn(what+" failed, trying again", "address", address, "code", string(e.Code), "reason", e.Reason,
			"error", err.Error(), "hint", e.Hint, "in", pause.Round(time.Millisecond).String())
		if !sleep(ctx, pause) {
			return ctx.Err()
		}
	}
}

// replaced reports whether the proxy shows another token by now.
func (a *Agent) replaced(token string) bool {
	now, err := a.token()
	return err == nil && now != token
}

// noFirstRequest is the reason of a zone that did not wait for longer.
const noFirstRequest = "no_first_request"

// isFinal reports whether asking again cannot help while the proxy shows the same.
func isFinal(err error) bool {
	if reasonOf(err) == noFirstRequest {
		return false // the way to the zone was slow
	}
	switch federation.CodeOf(err) {
	case federation.Unauthenticated, federation.Forbidden, federation.Invalid, federation.TooLarge:
		return true
	}
	return false
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
