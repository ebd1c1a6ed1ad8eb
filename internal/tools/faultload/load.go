package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/meridiankds/meridian/federation"
	"golang.org/x/sync/errgroup"
)

const (
	// attempt bounds one request to a global or a zone.
	attempt = 5 * time.Second
	// goodTokens is how many tokens of a zone stay unrevoked.
	goodTokens = 8
)

// global is a member as the load reaches it, around the relays of the zones.
type global struct {
	name   string
	client *http.Client
}

// load is the program under which the faults happen.
type load struct {
	globals []global
	zones   map[int]string // number: host and port for proxies
	zone    *http.Client
	ledger  *ledger
	admin   atomic.Pointer[string]
	// stopWriting and writers end the writes before the final judgement.
	stopWriting context.CancelFunc
	writers     sync.WaitGroup
}

func runLoad(ctx context.Context, globals, hosts string) error {
	ca, err := os.ReadFile("/secrets/ca.crt")
	if err != nil {
		return err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(ca) {
		return errors.New("/secrets/ca.crt holds no certificate")
	}
	l := &load{zones: map[int]string{}, ledger: newLedger()}
	for _, pair := range strings.Split(globals, ",") {
		name, addr, ok := strings.Cut(pair, "=")
		if !ok {
			return fmt.Errorf("--globals: %q is not NAME=HOST:PORT", pair)
		}
		l.globals = append(l.globals, global{name: name, client: client(&tls.Config{RootCAs: pool, ServerName: name, MinVersion: tls.VersionTLS13}, addr)})
	}
	// Zones make their own certificates; whose verdict this is, is not what is tried.
	l.zone = client(&tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, "")
	if err := l.parseZones(hosts); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	writing, stop := context.WithCancel(ctx)
	defer stop()
	l.stopWriting = stop
	group.Go(func() error { return control(ctx, l.handler(ctx, ca, func() { l.begin(ctx, writing, group) })) })
	return group.Wait()
}

// client is an HTTP client that dials addr, whatever the URL says, unless it is empty.
func client(config *tls.Config, addr string) *http.Client {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	transport := &http.Transport{TLSClientConfig: config, MaxIdleConnsPerHost: 4}
	transport.DialContext = func(ctx context.Context, network, to string) (net.Conn, error) {
		if addr != "" {
			to = addr
		}
		return dialer.DialContext(ctx, network, to)
	}
	return &http.Client{Transport: transport, Timeout: attempt}
}

// parseZones reads HOST:FIRST:COUNT,….
func (l *load) parseZones(hosts string) error {
	for _, part := range strings.Split(hosts, ",") {
		f := strings.Split(part, ":")
		if len(f) != 3 {
			return fmt.Errorf("--zones: %q is not HOST:FIRST:COUNT", part)
		}
		first, err := strconv.Atoi(f[1])
		if err != nil {
			return err
		}
		count, err := strconv.Atoi(f[2])
		if err != nil {
			return err
		}
		for n := first; n < first+count; n++ {
			l.zones[n] = fmt.Sprintf("%s:%d", f[0], zonePort(n))
		}
	}
	return nil
}

// begin starts the writers and a verifier for each zone.
func (l *load) begin(ctx, writing context.Context, group *errgroup.Group) {
	for i := range l.globals {
		l.writers.Go(func() { l.write(writing, i) })
	}
	for n := range l.zones {
		group.Go(func() error {
			for ctx.Err() == nil {
				if t, ok := l.ledger.try(n); ok {
					l.ledger.judge(t, l.verify(ctx, t.token))
				}
				pause(ctx, 50*time.Millisecond)
			}
			return nil
		})
	}
}

// write issues and revokes through one member for as long as writing goes on. A
// revocation that was asked for is asked for until it is acknowledged, under one
// request id, also after the writing was told to end.
func (l *load) write(ctx context.Context, i int) {
	for n := i; ctx.Err() == nil; n++ {
		zone := 1 + n%len(l.zones)
		raw, err := l.issue(ctx, i, zone)
		if err == nil {
			err = l.ledger.issued(zone, raw)
		}
		if err != nil {
			pause(ctx, 100*time.Millisecond)
		}
		if t := l.ledger.condemn(zone, goodTokens); t != nil {
			l.revoke(context.WithoutCancel(ctx), i, t)
		}
		pause(ctx, 20*time.Millisecond)
	}
}

// revoke gives up after three minutes: then the outcome stays open.
func (l *load) revoke(ctx context.Context, i int, t *token) {
	request := uuid.NewString()
	body := map[string]any{"kind": "zone", "ids": []string{t.id}, "reason": "faults"}
	for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); pause(ctx, 50*time.Millisecond) {
		began := time.Now()
		var answer struct{ Revision string }
		if err := l.ask(ctx, i, http.MethodPost, "/v1/revocations", body, &answer, request); err != nil {
			continue
		}
		rev, err := federation.ParseRevision(answer.Revision)
		if err != nil {
			continue
		}
		l.ledger.acknowledgedAt(t, rev, began, time.Now())
		return
	}
}

func (l *load) issue(ctx context.Context, i, zone int) (string, error) {
	var raw string
	err := l.ask(ctx, i, http.MethodPost, "/tokens/zone",
		map[string]any{"zone": zoneName(zone), "scope": []string{"egress"}, "validFor": "4h"}, &raw, "")
	return strings.TrimSpace(raw), err
}

// ask sends a request to a member. An answer into a string is taken as it is, any
// other as JSON.
func (l *load) ask(ctx context.Context, i int, method, path string, body, out any, request string) error {
	var data io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		data = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+l.globals[i].name+path, data)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if admin := l.admin.Load(); admin != nil {
		req.Header.Set("Authorization", "Bearer "+*admin)
	}
	if request != "" {
		req.Header.Set("X-Request-Id", request)
	}
	resp, err := l.globals[i].client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode/100 != 2:
		return fmt.Errorf("%s %s at %s: status %d: %.200s", method, path, l.globals[i].name, resp.StatusCode, text)
	}
	if s, ok := out.(*string); ok {
		*s = string(text)
		return nil
	}
	return json.Unmarshal(text, out)
}

// verify asks a zone, as a proxy would.
func (l *load) verify(ctx context.Context, t *token) (v verdict) {
	body, err := json.Marshal(map[string]string{"token": t.raw, "proxyType": "egress"})
	if err != nil {
		return v
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.zones[t.zone]+"/v1/authenticate", bytes.NewReader(body))
	if err != nil {
		return v
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := l.zone.Do(req)
	if err != nil {
		return v
	}
	defer resp.Body.Close()
	var answer struct{ Revision, Reason string }
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return v
	}
	switch resp.StatusCode {
	case http.StatusOK:
		if rev, err := federation.ParseRevision(answer.Revision); err == nil {
			v.accepted = rev
		}
	case http.StatusUnauthorized, http.StatusForbidden:
		v.refused = answer.Reason
	}
	return v
}
