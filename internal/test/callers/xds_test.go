package callers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meridiankds/meridian/internal/test/tempdir"
)

// rig is a real Envoy at a zone that serves a directory, with services behind it and
// requests that never stop.
type rig struct {
	t        *testing.T
	dir      string // of the proxy's resources
	port     string // of the listener
	services map[string]string
	admin    *http.Client
	zone     *zone
	ca       string // of the service tls

	mu   sync.Mutex
	seen map[string]int // answers since reaches was last called, by what they say
	all  int
	lost []string
}

// startRig starts everything with some resources, and waits for the first answer.
func startRig(t *testing.T, delta bool, first func(r *rig) []string) *rig {
	t.Helper()
	return startRigWith(t, delta, first, func(_ *zone, bootstrap string) string { return bootstrap })
}

// startRigWith is startRig with another bootstrap than the zone's.
func startRigWith(t *testing.T, delta bool, first func(r *rig) []string, edit func(z *zone, bootstrap string) string) *rig {
	t.Helper()
	needEnvoy(t)
	root := t.TempDir()
	r := &rig{t: t, dir: filepath.Join(root, "dataplane/meshes/payments/proxies/ledger-1"), port: freePort(t),
		services: map[string]string{}, seen: map[string]int{}}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
		t.Cleanup(server.Close)
		r.services[name] = server.Listener.Addr().String()
	}
	secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "tls") }))
	t.Cleanup(secure.Close)
	r.services["tls"] = secure.Listener.Addr().String()
	r.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	r.write(first(r)...)
	z := startZoneWith(t, root)
	r.zone = z
	work := tempdir.Short(t)
	var features []string
	if delta {
		features = []string{"feature-delta-grpc"}
	}
	text := bytes.ReplaceAll(z.bootstrapOf(t, "ledger-1", work, features...), []byte("address: localhost"), []byte("address: 127.0.0.1"))
	config := filepath.Join(work, "bootstrap.yaml")
	if err := os.WriteFile(config, []byte(edit(z, string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	out, ended, stop := runEnvoy(t, config)
	t.Cleanup(func() {
		if t.Failed() {
			stop()
			t.Logf("envoy said: %s\nzone said: %s", out, z.log)
		}
	})
	pipe := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(work, "kuma-envoy-admin.sock"))
	}}
	t.Cleanup(pipe.CloseIdleConnections)
	r.admin = &http.Client{Transport: pipe, Timeout: patience}
	r.await("the first answer", func() bool {
		select {
		case <-ended:
			t.Fatal("envoy ended")
		default:
		}
		return r.get() == nil
	})
	r.traffic()
	return r
}

// write replaces the proxy's resources as a whole.
func (r *rig) write(resources ...string) {
	r.t.Helper()
	name := filepath.Join(r.dir, "all.yaml")
	if err := os.WriteFile(name+".new", []byte("resources:\n"+strings.Join(resources, "")), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		r.t.Fatal(err)
	}
}

// client makes each request on a connection of its own.
func (r *rig) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
}

// get makes one request.
func (r *rig) get() error {
	resp, err := r.client().Get("http://127.0.0.1:" + r.port)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[string(body)]++
	r.all++
	return nil
}

// traffic begins to send requests one after another, until the test ends.
func (r *rig) traffic() {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond): // the pace of the requests
			}
			if err := r.get(); err != nil {
				r.mu.Lock()
				r.lost = append(r.lost, time.Now().Format("05.000 ")+err.Error())
				r.mu.Unlock()
			}
		}
	}()
	r.t.Cleanup(func() {
		close(stop)
		<-done
		if len(r.lost) > 0 {
			r.t.Errorf("%d requests were lost, the first: %q", len(r.lost), r.lost[:min(len(r.lost), 5)])
		}
		if r.all < 5 {
			r.t.Errorf("there were %d requests only", r.all)
		}
	})
}

func (r *rig) await(what string, condition func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(20 * time.Millisecond) { // between two looks
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// reaches waits until requests are answered by a service.
func (r *rig) reaches(service string) {
	r.t.Helper()
	r.mu.Lock()
	clear(r.seen)
	r.mu.Unlock()
	r.await("an answer of "+service, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.seen[service] > 5
	})
}

// config is what Envoy has now: its admin interface's config_dump.
func (r *rig) config() string {
	resp, err := r.admin.Get("http://envoy/config_dump?include_eds")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(resp.Body)
	var compact bytes.Buffer
	_ = json.Compact(&compact, text)
	return compact.String()
}

// shows waits until Envoy has something in use, or no longer, and nothing warms.
func (r *rig) shows(text string, want bool) {
	r.t.Helper()
	r.await(fmt.Sprintf("%s in use: %t", text, want), func() bool {
		c := r.config()
		return c != "" && strings.Contains(c, text) == want && !strings.Contains(c, "dynamic_warming_clusters") && !strings.Contains(c, "warming_state")
	})
}

const typed = "- '@type': type.googleapis.com/envoy.config."

func (r *rig) address(service string) string {
	host, port, _ := net.SplitHostPort(r.services[service])
	return "{address: {socket_address: {address: " + host + ", port_value: " + port + "}}}"
}

func (r *rig) static(name, service, more string) string {
	return typed + "cluster.v3.Cluster\n  name: " + name + "\n  connect_timeout: 60s\n  type: STATIC\n" + more +
		"  load_assignment: {cluster_name: " + name + ", endpoints: [{lb_endpoints: [{endpoint: " + r.address(service) + "}]}]}\n"
}

// eds is a cluster with endpoints of their own. wait is its initial_fetch_timeout.
func eds(name, service, timeout, wait string) string {
	return typed + "cluster.v3.Cluster\n  name: " + name + "\n  connect_timeout: " + timeout + "\n  type: EDS\n" +
		"  eds_cluster_config: {service_name: " + service + ", eds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: " + wait + "}}\n"
}

func (r *rig) endpoints(name, service string) string {
	return typed + "endpoint.v3.ClusterLoadAssignment\n  cluster_name: " + name + "\n  endpoints: [{lb_endpoints: [{endpoint: " + r.address(service) + "}]}]\n"
}

func routes(name, cluster string) string {
	return typed + "route.v3.RouteConfiguration\n  name: " + name + "\n  virtual_hosts:\n  - name: all\n    domains: ['*']\n" +
		"    routes: [{match: {prefix: /}, route: {cluster: " + cluster + ", timeout: 60s}}]\n"
}

// listener is one whose routes are asked for. wait is how long for.
func (r *rig) listener(routes, prefix, wait, filters string) string {
	return typed + "listener.v3.Listener\n  name: l1\n  address: {socket_address: {address: 127.0.0.1, port_value: " + r.port + "}}\n" +
		"  filter_chains:\n  - filters:\n    - name: http\n      typed_config:\n" +
		"        '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager\n" +
		"        stat_prefix: " + prefix + "\n" +
		"        rds: {route_config_name: " + routes + ", config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: " + wait + "}}\n" +
		"        http_filters:\n" + filters +
		"        - {name: router, typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}\n"
}

// never is an initial_fetch_timeout: what does not come is waited for without an end, so that
// a change that arrives shows that nothing was missing.
const never = "0s"

// inBothModes runs a test with an Envoy of either protocol.
func inBothModes(t *testing.T, f func(t *testing.T, delta bool)) {
	if testing.Short() {
		t.Skip("skipped with -short: runs a real Envoy for some seconds")
	}
	for name, delta := range map[string]bool{"sotw": false, "delta": true} {
		t.Run(name, func(t *testing.T) { t.Parallel(); f(t, delta) })
	}
}

// TestEnvoyWarms: whatever warms on something that Envoy has already gets it again, and no
// request is lost.
func TestEnvoyWarms(t *testing.T) {
	inBothModes(t, func(t *testing.T, delta bool) {
		base := func(r *rig) []string {
			return []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), eds("c1", "s1", "60s", never), r.endpoints("s1", "one")}
		}
		r := startRig(t, delta, base)
		l, s1 := r.listener("r1", "a", never, ""), r.endpoints("s1", "one")
		// A setting of a cluster.
		r.write(l, routes("r1", "c1"), eds("c1", "s1", "61s", never), s1)
		r.shows(`"connect_timeout":"61s"`, true)
		// A second cluster of the same assignment, and the route moved at once.
		r.write(l, routes("r1", "c1v2"), eds("c1v2", "s1", "62s", never), s1)
		r.shows(`"name":"c1"`, false)
		r.shows(`"connect_timeout":"62s"`, true)
		// A changed one, and the route moved elsewhere.
		r.write(l, routes("r1", "c1v2"), eds("c1v2", "s1", "63s", never), s1)
		r.write(l, routes("r1", "c9"), eds("c1v2", "s1", "63s", never), s1, r.static("c9", "two", ""))
		r.reaches("two")
		// A listener that asks for the same routes in another way.
		l = r.listener("r1", "b", "600s", "")
		r.write(l, routes("r1", "c1v2"), eds("c1v2", "s1", "64s", never), s1)
		r.shows(`"stat_prefix":"b"`, true)
		r.shows(`"name":"c9"`, false)
		r.reaches("one")
	})
}

// TestEnvoyWarmsOnOthers: the same for secrets and extension configs, which a cluster or a
// listener asks for in another way than before.
func TestEnvoyWarmsOnOthers(t *testing.T) {
	inBothModes(t, func(t *testing.T, delta bool) {
		all := func(r *rig, wait, prefix string) []string {
			return []string{r.listener("r1", prefix, "600s", extension("ext", wait)), extensionConfig("ext", ""), routes("r1", "c1"),
				r.static("c1", "tls", secured("ca", wait)), r.secret("ca", "")}
		}
		r := startRig(t, delta, func(r *rig) []string { return all(r, "600s", "a") })
		r.write(all(r, "601s", "b")...)
		r.shows(`"stat_prefix":"b"`, true)
		r.shows(`"initial_fetch_timeout":"600s"},"name":"ca"`, false)
		r.reaches("tls")
		r.write(all(r, never, "c")...)
		r.shows(`"stat_prefix":"c"`, true)
		r.reaches("tls")
	})
}

// extension is a filter whose configuration is asked for.
func extension(name, wait string) string {
	return "        - {name: " + name + ", config_discovery: {config_source: {ads: {}, resource_api_version: V3, initial_fetch_timeout: " + wait +
		"}, type_urls: [type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua]}}\n"
}

// extensionConfig is that configuration; code makes it one that Envoy does not take.
func extensionConfig(name, code string) string {
	return typed + "core.v3.TypedExtensionConfig\n  name: " + name + "\n  typed_config: {'@type': type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua, " +
		"default_source_code: {inline_string: 'function envoy_on_request(h) end " + code + "'}}\n"
}

// secured makes a cluster trust the CA of a secret.
func secured(secret, wait string) string {
	return "  transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, " +
		"common_tls_context: {validation_context_sds_secret_config: {name: " + secret +
		", sds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: " + wait + "}}}}}\n"
}

// secret is a CA, that of the service tls unless a text is given.
func (r *rig) secret(name, text string) string {
	data, _ := json.Marshal(cmp.Or(text, r.ca))
	return "- '@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret\n  name: " + name +
		"\n  validation_context: {trusted_ca: {inline_string: " + string(data) + "}}\n"
}

// TestEnvoyRefuses: what refers to something that Envoy refuses waits, what it replaces
// stays, everything else goes out, and no request is lost; whatever the kind that is refused.
func TestEnvoyRefuses(t *testing.T) {
	file := func(name string) string {
		return "  transport_socket: {name: tls, typed_config: {'@type': type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext, " +
			"common_tls_context: {validation_context: {trusted_ca: {filename: " + name + "}}}}}\n"
	}
	kinds := map[string]func(r *rig, good bool) []string{
		"routes of a changed listener": func(r *rig, good bool) []string {
			list := []string{r.listener("r9", "a", never, ""), r.static("c9", "two", "")}
			if good {
				return append(list, routes("r9", "c9"))
			}
			return append(list, strings.Replace(routes("r9", "c9"), "prefix: /", "safe_regex: {regex: '('}", 1))
		},
		"endpoints of a changed cluster": func(r *rig, good bool) []string {
			list := []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), eds("c1", "s9", "60s", never)}
			if good {
				return append(list, r.endpoints("s9", "two"))
			}
			return append(list, strings.Replace(r.endpoints("s9", "two"), "address: 127.0.0.1", "address: no.address", 1))
		},
		"secret of a changed cluster": func(r *rig, good bool) []string {
			list := []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), r.static("c1", "tls", secured("s9", never))}
			if good {
				return append(list, r.secret("s9", ""))
			}
			return append(list, r.secret("s9", "no certificate"))
		},
		"cluster": func(r *rig, good bool) []string {
			if good {
				return []string{r.listener("r1", "a", never, ""), routes("r1", "c9"), r.static("c9", "two", "")}
			}
			return []string{r.listener("r1", "a", never, ""), routes("r1", "c9"), r.static("c9", "two", file("/none/ca.pem"))}
		},
		"secret": func(r *rig, good bool) []string {
			list := []string{r.listener("r1", "a", never, ""), routes("r1", "c9"), r.static("c9", "tls", secured("s9", never))}
			if good {
				return append(list, r.secret("s9", ""))
			}
			return append(list, r.secret("s9", "no certificate"))
		},
		"endpoint": func(r *rig, good bool) []string {
			list := []string{r.listener("r1", "a", never, ""), routes("r1", "c9"), eds("c9", "s9", "60s", never)}
			if good {
				return append(list, r.endpoints("s9", "two"))
			}
			return append(list, strings.Replace(r.endpoints("s9", "two"), "address: 127.0.0.1", "address: no.address", 1))
		},
		"route": func(r *rig, good bool) []string {
			list := []string{r.listener("r1", "a", never, ""), r.static("c9", "two", "")}
			if good {
				return append(list, routes("r1", "c9"))
			}
			return append(list, strings.Replace(routes("r1", "c9"), "prefix: /", "safe_regex: {regex: '('}", 1))
		},
		"listener": func(r *rig, good bool) []string {
			list := []string{routes("r9", "c9"), r.static("c9", "two", "")}
			if good {
				return append(list, r.listener("r9", "a", never, ""))
			}
			return append(list, strings.Replace(r.listener("r9", "a", never, ""), "  filter_chains:", "  access_log: [{name: file, typed_config: "+
				"{'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /none/log}}]\n  filter_chains:", 1))
		},
		"extension config": func(r *rig, good bool) []string {
			list := []string{r.listener("r9", "a", never, extension("ext", never)), routes("r9", "c9"), r.static("c9", "two", "")}
			if good {
				return append(list, extensionConfig("ext", ""))
			}
			return append(list, extensionConfig("ext", "end end"))
		},
	}
	inBothModes(t, func(t *testing.T, delta bool) {
		base := func(r *rig) []string {
			return []string{r.listener("r1", "a", never, ""), routes("r1", "c1"), r.static("c1", "one", "")}
		}
		r := startRig(t, delta, base)
		for _, kind := range slices.Sorted(maps.Keys(kinds)) {
			other := "other-" + strings.ReplaceAll(kind, " ", "-")
			refusals := func() int { return strings.Count(r.zone.log.String(), "a proxy refused what it was sent") }
			before := refusals()
			r.write(append(kinds[kind](r, false), r.static(other, "two", ""))...)
			r.await("the refusal of a "+kind, func() bool { return refusals() > before })
			r.await("what has nothing to do with the "+kind, func() bool { return strings.Contains(r.config(), `"name":"`+other+`"`) })
			r.reaches("one")
			r.write(append(kinds[kind](r, true), r.static(other, "two", ""))...)
			if strings.HasPrefix(kind, "secret") {
				r.reaches("tls")
			} else {
				r.reaches("two")
			}
			r.write(base(r)...)
			r.reaches("one")
		}
	})
}
