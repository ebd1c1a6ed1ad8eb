package proxyauth

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/keyring"
	"github.com/meridiankds/meridian/internal/zone/statement"
)

// subsets yields every list of some of the words.
func subsets(words ...string) (all [][]string) {
	for bits := range 1 << len(words) {
		var some []string
		for i, w := range words {
			if bits&(1<<i) != 0 {
				some = append(some, w)
			}
		}
		all = append(all, some)
	}
	return all
}

// mayBe is what the rule says, written out: an account without an entry is a data
// plane proxy of services of its namespace; one with an entry is what that says.
func mayBe(namespace string, e *keyring.AccountEntry, p Proxy) bool {
	types, mesh, services := []string{cptoken.TypeDataplane}, "", []string(nil)
	if e != nil {
		mesh, services = e.Mesh, e.Services
		if len(e.ProxyTypes) > 0 {
			types = e.ProxyTypes
		}
	}
	for _, is := range append([]string{p.Type}, p.Listening...) {
		if !slices.Contains(types, is) {
			return false
		}
	}
	if p.Type != cptoken.TypeDataplane {
		return true
	}
	for _, service := range p.Tags[statement.ServiceTag] {
		own := service == "a_"+namespace+"_svc_80" || service == "b_"+namespace+"_svc_65535"
		if len(services) == 0 && !own || len(services) > 0 && !slices.Contains(services, service) {
			return false
		}
	}
	return mesh == "" || mesh == p.Mesh
}

// TestAccountsMayBeWhatTheirEntriesSay holds every account of two namespaces, with
// every entry of a set, against every resource of a set: what is refused is refused,
// labels that the proxy gives itself change nothing, and the entry that a refusal
// prints is the one that lets the proxy in.
func TestAccountsMayBeWhatTheirEntriesSay(t *testing.T) {
	services := []string{"a_shop_svc_80", "b_shop_svc_65535", "a_bank_svc_80", "payments", "a_shop_svc_0", "a_shop_svc_080", "shop_svc_80", "x_a_shop_svc_80", "_shop_svc_80", "a_shop_svc_80_x", "a_shop_web_80", "a_shop_svc", "a_shop_svc_80_"}
	entries := []*keyring.AccountEntry{nil}
	for _, types := range [][]string{nil, {cptoken.TypeDataplane}, {cptoken.TypeIngress}, {cptoken.TypeDataplane, cptoken.TypeEgress}} {
		entries = append(entries, &keyring.AccountEntry{ProxyTypes: types})
		if len(types) > 0 && types[0] == cptoken.TypeIngress {
			continue
		}
		entries = append(entries, &keyring.AccountEntry{ProxyTypes: types, Mesh: "default"}, &keyring.AccountEntry{ProxyTypes: types, Services: []string{"payments"}},
			&keyring.AccountEntry{ProxyTypes: types, Mesh: "other", Services: []string{"payments", "a_bank_svc_80"}})
	}
	var proxies []Proxy
	for _, some := range append(subsets(services[:4]...), [][]string{{services[4]}, {services[5]}, {services[6]}, {services[7]}, {services[8]}, {services[9]}, {services[10]}, {services[11]}, {services[12]}, {""}}...) {
		for _, mesh := range []string{"default", "other"} {
			proxies = append(proxies, Proxy{Type: cptoken.TypeDataplane, Mesh: mesh, Name: "p.shop", Tags: map[string][]string{statement.ServiceTag: some}})
		}
	}
	proxies = append(proxies, Proxy{Type: cptoken.TypeIngress, Name: "p.shop"}, Proxy{Type: cptoken.TypeEgress, Name: "p.shop"})
	for _, listening := range subsets(cptoken.TypeEgress, cptoken.TypeIngress)[1:] {
		proxies = append(proxies, Proxy{Type: cptoken.TypeDataplane, Mesh: "default", Name: "p.shop", Listening: listening})
	}
	accepted, refused := 0, 0
	for _, namespace := range []string{"shop", "bank"} {
		account := &Account{Namespace: namespace, Name: "lowly"}
		for _, e := range entries {
			// Entries of others change nothing.
			s := keyring.AccountSettings{ServiceAccounts: []keyring.AccountEntry{
				{Account: namespace + "/other", ProxyTypes: []string{cptoken.TypeDataplane, cptoken.TypeIngress, cptoken.TypeEgress}, Services: services},
				{Account: "else/lowly", ProxyTypes: []string{cptoken.TypeDataplane, cptoken.TypeIngress, cptoken.TypeEgress}, Services: services},
			}}
			if e != nil {
				mine := *e
				mine.Account = namespace + "/lowly"
				s.ServiceAccounts = append(s.ServiceAccounts, mine)
			}
			if err := complete(s); err != nil {
				t.Fatal(err)
			}
			for _, p := range proxies {
				what := fmt.Sprintf("%s, entry %+v, proxy %+v", namespace, e, p)
				p.Labels = map[string]string{"k8s.kuma.io/service-account": "other", "k8s.kuma.io/namespace": "else"}
				err := checkAccount(&s, account, p)
				if want := mayBe(namespace, e, p); (err == nil) != want {
					t.Fatalf("%s: %v, want accepted %t", what, err, want)
				}
				if err == nil {
					accepted++
					continue
				}
				refused++
				letIn(t, what, s, account, p, err)
			}
		}
	}
	if accepted < 100 || refused < 100 {
		t.Errorf("%d accepted, %d refused: the test proves little", accepted, refused)
	}
}

// complete checks the settings as a zone does.
func complete(s keyring.AccountSettings) error {
	var all keyring.Settings
	all.Authn.ServiceAccountToken = s
	return all.Complete()
}

// letIn puts the entry that a refusal prints into the settings: the proxy is let in
// then, unless it has a service that cannot be named.
func letIn(t *testing.T, what string, s keyring.AccountSettings, a *Account, p Proxy, refusal error) {
	t.Helper()
	hint := federation.AsError(refusal).Hint
	_, text, ok := strings.Cut(hint, keyring.AccountsField+" at the zone: ")
	var e keyring.AccountEntry
	if !ok || json.Unmarshal([]byte(text), &e) != nil || e.Account != a.Namespace+"/"+a.Name {
		t.Fatalf("%s: the hint prints no entry: %s", what, hint)
	}
	if slices.Contains(p.Tags[statement.ServiceTag], "") {
		return
	}
	had := slices.IndexFunc(s.ServiceAccounts, func(x keyring.AccountEntry) bool { return x.Account == e.Account })
	if (had < 0) != strings.Contains(hint, "add to") {
		t.Fatalf("%s: the hint says %s", what, hint)
	}
	s.ServiceAccounts = slices.Clone(s.ServiceAccounts)
	if had >= 0 {
		s.ServiceAccounts = slices.Delete(s.ServiceAccounts, had, had+1)
	}
	s.ServiceAccounts = append(s.ServiceAccounts, e)
	if err := complete(s); err != nil {
		t.Fatalf("%s: the entry %s is no good: %v", what, text, err)
	}
	if err := checkAccount(&s, a, p); err != nil {
		t.Fatalf("%s: with the entry %s: %v", what, text, err)
	}
}

// TestEntriesProveStatements: what an entry says is what a statement can ask for.
func TestEntriesProveStatements(t *testing.T) {
	s := keyring.AccountSettings{ServiceAccounts: []keyring.AccountEntry{{Account: "shop/pay", Mesh: "default", Services: []string{"payments"}}}}
	got := provedBy(&s, &Account{Namespace: "shop", Name: "pay"})
	if got == nil || got.Mesh != "default" || !slices.Equal(got.Types, []string{cptoken.TypeDataplane}) || !slices.Equal(got.Services, []string{"payments"}) {
		t.Errorf("proves %+v", got)
	}
	if provedBy(&s, &Account{Namespace: "shop", Name: "other"}) != nil {
		t.Error("an account without an entry proves something")
	}
}

// TestAdmissionsOfAccountsAreReviewed: asking again who vouched for a proxy asks all
// that the admission asked.
func TestAdmissionsOfAccountsAreReviewed(t *testing.T) {
	settings := keyring.Settings{Authn: keyring.AuthnSettings{DPProxy: keyring.DPProxySettings{Type: keyring.ServiceAccountToken}}}
	settings.Authn.ServiceAccountToken = keyring.AccountSettings{Audience: "meridian-zone", ServiceAccounts: []keyring.AccountEntry{{Account: "demo/backend-1", Services: []string{"backend"}}}}
	vouching := &fickle{}
	a := newAuth(t, newCopy(t), settings, func(c *Config) { c.Reviewer = vouching })
	admission, err := a.Authenticate(t.Context(), backend, "sa")
	if err != nil {
		t.Fatal(err)
	}
	if err := admission.Review(t.Context()); err != nil {
		t.Fatal(err)
	}
	vouching.err = federation.Errorf(federation.Unauthenticated, "the pod is gone").WithReason("not_authenticated")
	if err := admission.Review(t.Context()); cptoken.ReasonOf(err) != "not_authenticated" {
		t.Errorf("reviewed again: %v", err)
	}
}

// fickle vouches until it has an error.
type fickle struct {
	reviewer
	err error
}

func (f *fickle) Review(ctx context.Context, token string, p Proxy) (Account, error) {
	if f.err != nil {
		return Account{}, f.err
	}
	return f.reviewer.Review(ctx, token, p)
}
