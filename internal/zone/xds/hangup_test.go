package xds

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	authz "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/meridiankds/meridian/internal/zone/proxyauth"
)

// patient asks somebody who answers nobody.
type patient struct {
	Authenticator
	asked chan struct{}
}

func (p patient) Prove(ctx context.Context, _ map[string]string, _, _ string) (*proxyauth.Admission, error) {
	p.asked <- struct{}{}
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestHangingUpIsNoDefect: an Envoy whose own client goes, or whose time is over, ends its
// question. Nothing is wrong at this zone, and its log does not say so.
func TestHangingUpIsNoDefect(t *testing.T) {
	b := newBench(t, nil)
	slow := patient{b.server.cfg.Auth, make(chan struct{}, 1)}
	b.server.cfg.Auth = slow
	client := authz.NewAuthorizationClient(b.dial())
	question := &authz.CheckRequest{Attributes: &authz.AttributeContext{Request: &authz.AttributeContext_Request{
		Http: &authz.AttributeContext_HttpRequest{Headers: map[string]string{"authorization": "x"}}}}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := client.Check(ctx, question); ended <- err }()
	<-slow.asked
	cancel()
	if err := <-ended; err == nil {
		t.Fatal("answered a question that was ended")
	}
	eventually(t, "the refusal to be logged", func() bool { return strings.Contains(b.log.String(), "an Envoy asked about") })

	// In the middle of the question.
	protocols := &http.Protocols{}
	protocols.SetHTTP2(true)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // the test made the certificate
	defer transport.CloseIdleConnections()
	for _, sent := range [][]byte{{}, {0, 0, 0}, {0, 0, 0, 0, 100, 10, 20}} {
		ctx, cancel := context.WithCancel(t.Context())
		body, writes := io.Pipe()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+b.address+"/envoy.service.auth.v3.Authorization/Check", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		over := make(chan struct{})
		go func() {
			defer close(over)
			if resp, err := transport.RoundTrip(r); err == nil {
				resp.Body.Close()
			}
		}()
		if _, err := io.Copy(writes, bytes.NewReader(sent)); err != nil {
			t.Fatal(err)
		}
		cancel()
		<-over
	}
	b.stop()
	if lines := b.log.String(); slices.ContainsFunc(strings.Split(lines, "\n"), func(line string) bool {
		return strings.Contains(line, "level=ERROR") || strings.Contains(line, "internal error")
	}) {
		t.Errorf("a proxy that hung up is an error:\n%s", lines)
	}
}
