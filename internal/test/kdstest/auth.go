package kdstest

import (
	"context"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/kds"
)

// Auth admits "Bearer <zone>" as that zone, "Bearer <zone>/<serial>" with a
// serial, and nothing else unless Open is set.
type Auth struct {
	Mu      sync.Mutex
	Open    bool // mode none: who shows nothing comes in unauthenticated
	refused map[string]string
	Expires time.Time
	Seen    []kds.Credentials
	err     error
}

// Authenticate implements kds.Authenticator.
func (a *Auth) Authenticate(_ context.Context, c kds.Credentials) (kds.Admission, error) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.Seen = append(a.Seen, c)
	if a.err != nil {
		return kds.Admission{}, a.err
	}
	if c.Authorization == "" && a.Open {
		return kds.Admission{Zone: c.Zone, Method: kds.MethodNone, Verdict: "no token"}, nil
	}
	token, ok := strings.CutPrefix(c.Authorization, "Bearer ")
	if reason := a.refused[""]; c.Authorization == "" && reason != "" {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "zone %s presented no token", c.Zone).WithReason(reason)
	}
	if !ok || token == "forged" {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "nothing verifies this token").
			WithReason("bad_signature").WithHint("issue a new one")
	}
	if reason := a.refused[token]; reason != "" {
		return kds.Admission{}, federation.Errorf(federation.Unauthenticated, "the token of %s is %s", token, reason).WithReason(reason)
	}
	return kds.Admission{Zone: token, Method: kds.MethodControlPlaneToken, TokenSerial: 7, TokenID: "id-" + token, Expires: a.Expires, Authenticated: true}, nil
}

// Refuse has the token of a zone refused from now on; who shows none where zone is "".
func (a *Auth) Refuse(zone, reason string) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.refused = maps.Clone(a.refused)
	if a.refused == nil {
		a.refused = map[string]string{}
	}
	a.refused[zone] = reason
}

// Fail makes the Authenticator unable to decide, or able again.
func (a *Auth) Fail(err error) {
	a.Mu.Lock()
	defer a.Mu.Unlock()
	a.err = err
}

// JudgingAuth admits like Auth, and judges on its own.
type JudgingAuth struct {
	Auth
	Judged  atomic.Int64
	Verdict atomic.Pointer[map[string]error]
}

// Judge implements kds.Judge.
func (a *JudgingAuth) Judge(ad kds.Admission) error {
	a.Judged.Add(1)
	if v := a.Verdict.Load(); v != nil {
		return (*v)[ad.Zone]
	}
	return nil
}
