package tokenreview

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/internal/net/loglimit"
	"github.com/meridiankds/meridian/internal/net/preauth"
)

// The bounds of a review.
const (
	// MaxTokenBytes is the longest token that is passed on. Kubernetes' own are of
	// 1 to 2 KiB.
	MaxTokenBytes = 8 << 10
	// reviewTimeout is for one review with all its attempts, attemptTimeout for one
	// of them.
	reviewTimeout  = 10 * time.Second
	attemptTimeout = 3 * time.Second
	attempts       = 3
	firstBackoff   = 200 * time.Millisecond
	// maxInFlight is how many reviews are asked for at a time. Who comes then waits
	// for as long as a review may last, in turn with other addresses; maxWaiting do.
	maxInFlight = 16
	maxWaiting  = 1024
	// maxAnswer bounds the answer: the API server repeats the token in it.
	maxAnswer = 256 << 10

	acceptedFor = time.Minute
	refusedFor  = 10 * time.Second
	// maxRemembered is the number of answers remembered of either kind.
	maxRemembered = 4096
)

// Reasons of refusals beside those of package cptoken. They travel as the reason
// of a federation.Error.
const (
	// NotAuthenticated: the API server does not know the token.
	NotAuthenticated = "not_authenticated"
	// WrongAudience: the token is not made out to this zone's audience.
	WrongAudience = "wrong_audience"
	// NotServiceAccount: the token is good, but of a user or a node.
	NotServiceAccount = "not_service_account"
	// WrongNamespace, WrongServiceAccount and WrongName (of the pod): the token is
	// another proxy's.
	WrongNamespace      = "wrong_namespace"
	WrongServiceAccount = "wrong_service_account"
	WrongName           = "wrong_name"
	// Expired and Malformed are as in package cptoken.
	Expired   = "expired"
	Malformed = "malformed"
	// UnboundToken: the token is bound to no pod, which the settings do not allow.
	UnboundToken = "unbound_token"
	// ReviewUnavailable: the API server could not be asked; it says nothing of the
	// token.
	ReviewUnavailable = "review_unavailable"
)

// Config is what [New] needs.
type Config struct {
	// Audience is what tokens must be made out to. Mandatory.
	Audience string
	// Kubeconfig is the file that says where the API server is and as whom to ask;
	// "" is the service account of the pod that the zone runs in.
	Kubeconfig string
	// APIServer is the URL of the API server, https only, in place of the one that
	// the kubeconfig or the pod's environment names; "" is that one.
	APIServer string

	// AllowUnbound takes tokens that are bound to no pod, as secrets of older clusters
	// and kubectl create token hold them: whoever has one has the name of any proxy in the
	// namespace of its account.
	AllowUnbound bool

	Getenv func(string) string // nil: no environment
	// MountDir is where the pod's own token and CA are; "" is where Kubernetes
	// mounts them.
	MountDir string
	Logger   *slog.Logger     // nil: no log
	Now      func() time.Time // nil: time.Now
}

// Identity is what the API server says of a token.
type Identity struct {
	Namespace      string
	ServiceAccount string
	// Pod is the pod that the token is bound to; "" where it is bound to none.
	Pod string
	// PodUID tells that pod from others of its name.
	PodUID string
	// ID is the token's id, of Kubernetes 1.29 and newer, else "".
	ID string
	// ExpiresAt is zero for a token without an end, as old secrets hold them.
	ExpiresAt time.Time
}

// Reviewer asks the API server. Its methods are safe for concurrent use.
type Reviewer struct {
	cfg      Config
	access   *access
	lines    *loglimit.Limiter
	places   *preauth.Queue
	flights  singleflight.Group
	accepted *memory
	refused  *memory
	// Bounds that tests make shorter.
	reviewTimeout, attemptTimeout, backoff time.Duration
}

// New returns a reviewer, after a look at the credentials that it will ask with.
// Nothing is dialled yet.
func New(cfg Config) (*Reviewer, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Getenv == nil {
		cfg.Getenv = func(string) string { return "" }
	}
	if strings.TrimSpace(cfg.Audience) == "" {
		return nil, federation.Errorf(federation.Invalid, "service account tokens need an audience").
			WithHint("name in the zone's configuration what the pods' projected tokens are made out to, for example meridian-zone")
	}
	access, err := newAccess(cfg)
	if err != nil {
		return nil, err
	}
	return &Reviewer{
		cfg: cfg, access: access, lines: loglimit.New(1, cfg.Now), places: preauth.NewQueue(maxInFlight, maxWaiting),
		accepted: newMemory(maxRemembered), refused: newMemory(maxRemembered),
		reviewTimeout: reviewTimeout, attemptTimeout: attemptTimeout, backoff: firstBackoff,
	}, nil
}

// Review returns whose token it is. A token that is not good is a
// federation.Error of the code Unauthenticated; an API server that cannot be
// asked is one of the code Unavailable, after some attempts.
func (r *Reviewer) Review(ctx context.Context, token string) (Identity, error) {
	now := r.cfg.Now()
	claims, err := peek(token)
	if err != nil {
		return Identity{}, err
	}
	if claims.endedAt(now) {
		return Identity{}, refusal(Expired, "the service account token expired at %s", claims.expiry().Format(time.RFC3339)).
			WithHint("mount a projected token: Kubernetes renews it in the pod's file")
	}
	sum := sha256.Sum256([]byte(token))
	if a, ok := r.recall(sum, now); ok {
		return a.identity, a.err
	}
	done := r.flights.DoChan(string(sum[:]), func() (any, error) {
		// Others may wait for the same answer: it does not end with who asked first.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.reviewTimeout)
		defer cancel()
		return r.ask(ctx, token, claims)
	})
	select {
	case <-ctx.Done():
		return Identity{}, unavailable(ctx.Err())
	case got := <-done:
		identity, _ := got.Val.(Identity)
		r.remember(sum, identity, got.Err, claims)
		return identity, got.Err
	}
}

// recall looks for an answer that is still good.
func (r *Reviewer) recall(sum [sha256.Size]byte, now time.Time) (answer, bool) {
	if a, ok := r.accepted.get(sum, now); ok {
		return a, true
	}
	return r.refused.get(sum, now)
}

// remember keeps what the API server decided, and nothing of a failure to ask.
func (r *Reviewer) remember(sum [sha256.Size]byte, identity Identity, err error, claims claims) {
	now := r.cfg.Now()
	switch {
	case err == nil:
		until := now.Add(acceptedFor)
		if end := claims.expiry(); !end.IsZero() && clock.Earlier(end, until) {
			until = end
		}
		r.accepted.put(sum, answer{identity: identity, until: until}, now)
	case federation.CodeOf(err) == federation.Unauthenticated:
		r.refused.put(sum, answer{err: err, until: now.Add(refusedFor)}, now)
	}
}

// ask has the API server review a token and then reads the pod that the token is
// bound to.
func (r *Reviewer) ask(ctx context.Context, token string, claims claims) (Identity, error) {
	leave, err := r.places.Enter(ctx, preauth.KeyFrom(ctx))
	if err != nil {
		return Identity{}, r.fail(errors.New("too many reviews wait for the API server"))
	}
	defer leave()
	var status *reviewStatus
	err = r.retry(ctx, func(ctx context.Context, s *apiServer) (err error) {
		status, err = s.review(ctx, token, r.cfg.Audience)
		return err
	})
	if err != nil {
		return Identity{}, r.fail(err)
	}
	id, err := r.judge(status, claims)
	if err != nil || id.Pod == "" || id.PodUID == "" {
		return id, err
	}
	var bound *pod
	err = r.retry(ctx, func(ctx context.Context, s *apiServer) (err error) {
		bound, err = s.pod(ctx, id.Namespace, id.Pod)
		return err
	})
	if err != nil {
		return Identity{}, r.fail(err)
	}
	if err := bound.holds(id); err != nil {
		return Identity{}, err
	}
	return id, nil
}

// retry asks until there is an answer, the attempts are used up or time is.
func (r *Reviewer) retry(ctx context.Context, ask func(context.Context, *apiServer) error) (err error) {
	for n := range attempts {
		if n > 0 && !sleep(ctx, backoff(r.backoff, n, err)) {
			break
		}
		if err = r.attempt(ctx, ask); err == nil {
			return nil
		}
		var f *fault
		if errors.As(err, &f) && f.final {
			break
		}
	}
	return err
}

// attempt asks once.
func (r *Reviewer) attempt(ctx context.Context, ask func(context.Context, *apiServer) error) error {
	ctx, cancel := context.WithTimeout(ctx, r.attemptTimeout)
	defer cancel()
	err := ask(ctx, r.access.current())
	var f *fault
	if errors.As(err, &f) && f.status == http.StatusUnauthorized {
		r.access.stale() // the zone's own token may have been replaced just now
	}
	return err
}

// fail logs for the operator why nothing could be asked, and says to the proxy
// that it is so.
func (r *Reviewer) fail(cause error) error {
	r.lines.Log(context.Background(), r.cfg.Logger, slog.LevelWarn, "Kubernetes' API cannot review service account tokens",
		slog.String("apiServer", r.access.server()), slog.String("error", cause.Error()), slog.String("hint", hintOf(cause)))
	return unavailable(cause)
}

func unavailable(cause error) error {
	return federation.Errorf(federation.Unavailable, "the service account token cannot be checked now: Kubernetes' API gave this zone no answer").
		WithReason(ReviewUnavailable).WithCause(cause).
		WithHint("try again; the zone's log says what is wrong")
}

func refusal(reason, format string, args ...any) *federation.Error {
	return federation.Errorf(federation.Unauthenticated, format, args...).WithReason(reason)
}
