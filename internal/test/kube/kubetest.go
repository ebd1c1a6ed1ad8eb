// Package kube stands in for a Kubernetes API server where tests and stories
// need one: it mints service account tokens as Kubernetes' TokenRequest API does,
// reviews them as its TokenReview API does (authentication.k8s.io/v1), and shows its
// pods (v1), over TLS. No program that is shipped links it.
//
// What it answers follows Kubernetes' API reference: 201 with the TokenReview and
// its status filled in; status.audiences holds the audiences that the token and
// the question have in common; the user is system:serviceaccount:<namespace>:
// <name>, with the pod, its uid and the credential's id in its extra fields. A token
// whose pod or service account is gone, or was made again under another uid, is not
// authenticated; a pod that is not there is a Status of the reason NotFound.
package kube

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Account is whose token is minted.
type Account struct {
	Namespace, Name string
	Pod             string // "": bound to no pod; made where it does not run yet
	Audience        string // "": the API server's own
	// Expires is when the token ends; zero: never.
	Expires time.Time
}

// ownAudience is what tokens are for that are made out to nothing else.
const ownAudience = "https://kubernetes.default.svc"

// API is an API server, as a handler. Its methods are safe for concurrent use.
type API struct {
	secret [32]byte

	mu      sync.Mutex
	callers map[string]bool   // bearer tokens that may ask
	pods    map[string]*Pod   // by "namespace/name"
	uids    map[string]string // of service accounts, by "namespace/name"
	cached  map[string]review // answers to reviews, by token; nil: none are kept
	noPods  bool              // callers may not get pods
	tamper  func(w http.ResponseWriter, r *http.Request) (handled bool)
	asked   int
}

// NewAPI returns an API server that takes questions from callers with the bearer
// token caller.
func NewAPI(caller string) *API {
	a := &API{callers: map[string]bool{caller: true}, pods: map[string]*Pod{}, uids: map[string]string{}}
	rand.Read(a.secret[:]) // never fails, see crypto/rand
	return a
}

// Tamper has f answer in place of the API server where it returns true; nil ends
// that.
func (a *API) Tamper(f func(w http.ResponseWriter, r *http.Request) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.tamper = f
}

// SetCaller makes token the only one that may ask.
func (a *API) SetCaller(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.callers = map[string]bool{token: true}
}

// Asked is the number of reviews so far, those that were tampered with too.
func (a *API) Asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

// payload holds the claims of a service account token.
type payload struct {
	Audience []string `json:"aud"`
	Expires  int64    `json:"exp,omitempty"`
	ID       string   `json:"jti"`
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	K8s      struct {
		Namespace string `json:"namespace"`
		Pod       *ref   `json:"pod,omitempty"`
		Account   ref    `json:"serviceaccount"`
	} `json:"kubernetes.io"`
}

type ref struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// Token mints a token.
func (a *API) Token(who Account) string {
	var p payload
	p.Audience = []string{who.Audience}
	if who.Audience == "" {
		p.Audience = []string{ownAudience}
	}
	if !who.Expires.IsZero() {
		p.Expires = who.Expires.Unix()
	}
	p.ID, p.Issuer = rand.Text(), ownAudience
	p.Subject = "system:serviceaccount:" + who.Namespace + ":" + who.Name
	a.mu.Lock()
	p.K8s.Namespace, p.K8s.Account = who.Namespace, ref{who.Name, a.accountUID(who.Namespace, who.Name)}
	if who.Pod != "" {
		p.K8s.Pod = &ref{who.Pod, a.podOf(who).UID}
	}
	a.mu.Unlock()
	text, err := json.Marshal(p)
	if err != nil {
		panic(err) // strings and numbers only
	}
	signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","kid":"standin"}`)) + "." + base64.RawURLEncoding.EncodeToString(text)
	return signed + "." + a.sign(signed)
}

func (a *API) sign(text string) string {
	mac := hmac.New(sha256.New, a.secret[:])
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// review is a TokenReview.
type review struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		Token     string   `json:"token"`
		Audiences []string `json:"audiences"`
	} `json:"spec"`
	Status struct {
		Authenticated bool     `json:"authenticated,omitempty"`
		Audiences     []string `json:"audiences,omitempty"`
		Error         string   `json:"error,omitempty"`
		User          struct {
			Username string              `json:"username,omitempty"`
			Groups   []string            `json:"groups,omitempty"`
			Extra    map[string][]string `json:"extra,omitempty"`
		} `json:"user"`
	} `json:"status"`
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	if r.Method == http.MethodPost {
		a.asked++
	}
	tamper, known := a.tamper, a.callers[strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")]
	a.mu.Unlock()
	if tamper != nil && tamper(w, r) {
		return
	}
	switch {
	case !known:
		Status(w, http.StatusUnauthorized, "Unauthorized")
		return
	case r.Method == http.MethodGet:
		a.getPod(w, r)
		return
	case r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews":
		Status(w, http.StatusNotFound, "the server could not find the requested resource")
		return
	}
	var q review
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&q); err != nil || q.Kind != "TokenReview" {
		Status(w, http.StatusBadRequest, "not a TokenReview")
		return
	}
	a.mu.Lock()
	a.answer(&q)
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(q)
}

// reasons are those of a Status, by its code.
var reasons = map[int]string{http.StatusUnauthorized: "Unauthorized", http.StatusForbidden: "Forbidden", http.StatusNotFound: "NotFound"}

// Status answers as the API server does where it declines.
func Status(w http.ResponseWriter, code int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reasons[code], "code": code,
	})
}

// answer fills in the status, from memory where answers are kept. The caller holds
// a.mu.
func (a *API) answer(q *review) {
	if kept, ok := a.cached[q.Spec.Token]; ok {
		q.Status = kept.Status
		return
	}
	a.decide(q)
	if a.cached != nil && q.Status.Authenticated {
		a.cached[q.Spec.Token] = *q
	}
}

// decide fills in the status.
func (a *API) decide(q *review) {
	p, ok := a.open(q.Spec.Token)
	common := func(audience string) bool { return slices.Contains(q.Spec.Audiences, audience) }
	switch {
	case !ok:
		q.Status.Error = "invalid bearer token"
		return
	case p.Expires != 0 && time.Now().Unix() >= p.Expires:
		q.Status.Error = "[invalid bearer token, service account token has expired]"
		return
	case !slices.ContainsFunc(p.Audience, common):
		q.Status.Error = "[invalid bearer token, token audiences are not for this question]"
		return
	}
	if uid := a.uids[p.K8s.Namespace+"/"+p.K8s.Account.Name]; uid != p.K8s.Account.UID {
		q.Status.Error = "[invalid bearer token, service account UID (" + uid + ") does not match claim (" + p.K8s.Account.UID + ")]"
		return
	}
	extra := map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=" + p.ID}}
	if bound := p.K8s.Pod; bound != nil {
		switch pod := a.pods[p.K8s.Namespace+"/"+bound.Name]; {
		case pod == nil:
			q.Status.Error = "[invalid bearer token, service account token has been invalidated]"
			return
		case pod.UID != bound.UID:
			q.Status.Error = "[invalid bearer token, pod UID (" + pod.UID + ") does not match service account pod ref claim (" + bound.UID + ")]"
			return
		}
		extra["authentication.kubernetes.io/pod-name"] = []string{bound.Name}
		extra["authentication.kubernetes.io/pod-uid"] = []string{bound.UID}
	}
	q.Status.Authenticated = true
	for _, audience := range p.Audience {
		if common(audience) {
			q.Status.Audiences = append(q.Status.Audiences, audience)
		}
	}
	q.Status.User.Username, q.Status.User.Extra = p.Subject, extra
	q.Status.User.Groups = []string{"system:serviceaccounts", "system:serviceaccounts:" + p.K8s.Namespace, "system:authenticated"}
}

// open reads a token that this API server minted.
func (a *API) open(token string) (p payload, ok bool) {
	at := strings.LastIndexByte(token, '.')
	if at < 0 || !hmac.Equal([]byte(token[at+1:]), []byte(a.sign(token[:at]))) {
		return p, false
	}
	_, middle, _ := strings.Cut(token[:at], ".")
	text, err := base64.RawURLEncoding.DecodeString(middle)
	return p, err == nil && json.Unmarshal(text, &p) == nil
}
