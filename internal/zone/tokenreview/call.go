package tokenreview

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/meridiankds/meridian/internal/clock"
)

// apiVersion is of the API that is asked.
const apiVersion = "authentication.k8s.io/v1"

// reviewPath is where a TokenReview is created.
const reviewPath = "/apis/" + apiVersion + "/tokenreviews"

// review is a TokenReview, as much of it as is needed.
type review struct {
	APIVersion string        `json:"apiVersion"`
	Kind       string        `json:"kind"`
	Spec       *reviewSpec   `json:"spec,omitempty"`
	Status     *reviewStatus `json:"status,omitempty"`
}

type reviewSpec struct {
	Token     string   `json:"token"`
	Audiences []string `json:"audiences"`
}

type reviewStatus struct {
	Authenticated bool     `json:"authenticated"`
	Audiences     []string `json:"audiences"`
	User          struct {
		Username string              `json:"username"`
		Extra    map[string][]string `json:"extra"`
	} `json:"user"`
}

// fault is a question that was not answered.
type fault struct {
	text, hint string
	status     int           // of HTTP; 0: none came
	after      time.Duration // how long the API server asks to wait
	final      bool          // asking again cannot help
}

func (f *fault) Error() string { return f.text }

// apiServer is where to ask, and as whom.
type apiServer struct {
	base   string
	bearer string // "" where a client certificate is shown
	http   *http.Client
}

// review asks once.
func (s *apiServer) review(ctx context.Context, token, audience string) (*reviewStatus, error) {
	body, err := json.Marshal(review{APIVersion: apiVersion, Kind: "TokenReview", Spec: &reviewSpec{Token: token, Audiences: []string{audience}}})
	if err != nil {
		return nil, &fault{text: "the question cannot be written", final: true}
	}
	req, err := s.request(ctx, http.MethodPost, reviewPath, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, data, err := s.do(req)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusCreated && resp.StatusCode != http.StatusOK:
		return nil, declined(resp, data, token, "bind the cluster role system:auth-delegator to the service account that the zone asks as")
	}
	var got review
	if err := json.Unmarshal(data, &got); err != nil || got.Kind != "TokenReview" || got.Status == nil {
		return nil, &fault{text: "the answer is not a TokenReview", final: true, hint: notAnAPIServer}
	}
	return got.Status, nil
}

const notAnAPIServer = "is that the address of a Kubernetes API server?"

// request makes a question of the zone's.
func (s *apiServer) request(ctx context.Context, method, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+path, body)
	if err != nil {
		return nil, &fault{text: "the API server's address cannot be used", final: true}
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "meridian-zone")
	if s.bearer != "" {
		req.Header.Set("Authorization", "Bearer "+s.bearer)
	}
	return req, nil
}

// do asks, and reads the whole answer, of bounded size.
func (s *apiServer) do(req *http.Request) (*http.Response, []byte, error) {
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, nil, unreachable(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, nil, unreachable(err)
	case len(data) > maxAnswer:
		return nil, nil, &fault{text: fmt.Sprintf("the answer is larger than %d KiB", maxAnswer>>10), final: true, hint: notAnAPIServer}
	}
	return resp, data, nil
}

// unreachable shortens what net/http says, which repeats the URL.
func unreachable(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return &fault{text: "no answer in time", hint: "the API server is slow, or something between drops what is sent to it"}
	}
	return &fault{text: err.Error(), hint: "the zone must reach the API server, whose certificate must be of the CA that it was given"}
}

// declined says why the API server did not answer the question. token is the one
// that was asked about, "" for none; allow says what to do where the zone's account
// may not ask.
func declined(resp *http.Response, data []byte, token, allow string) error {
	f := &fault{status: resp.StatusCode, text: fmt.Sprintf("the API server answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))}
	var said struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(data, &said) == nil && said.Message != "" && (token == "" || !strings.Contains(said.Message, token)) {
		f.text += ": " + oneLine(said.Message)
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized:
		f.hint = "the zone's own token or certificate is not accepted: is it of this cluster, and not expired?"
	case resp.StatusCode == http.StatusForbidden:
		f.final = true
		f.hint = allow
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		f.hint = "the API server is overloaded or starting"
		if n, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && n > 0 && n < 60 {
			f.after = time.Duration(n) * time.Second
		}
	default:
		f.final = true
		f.hint = notAnAPIServer
	}
	return f
}

// oneLine makes what a stranger says fit into a log line.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
	return s[:min(200, len(s))]
}

func hintOf(err error) string {
	var f *fault
	if errors.As(err, &f) {
		return f.hint
	}
	return ""
}

// backoff is how long to wait before the n-th attempt, n from 1: twice as long
// each time, somewhere in the upper half so that zones do not ask in step, and at
// least as long as the API server asked for.
func backoff(base time.Duration, n int, err error) time.Duration {
	wait := base << (n - 1)
	wait = wait/2 + rand.N(wait/2+1)
	var f *fault
	if errors.As(err, &f) {
		wait = max(wait, f.after)
	}
	return wait
}

// sleep waits, and reports whether ctx goes on after that. It does not wait where
// it knows that ctx will not.
func sleep(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && clock.Left(end, time.Now()) <= d {
		return false
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
