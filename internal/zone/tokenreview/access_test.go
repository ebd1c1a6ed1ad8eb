package tokenreview

import (
	"bytes"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// podEnv is the environment of a pod whose API server is at address.
func podEnv(address string) func(string) string {
	host, port, _ := strings.Cut(strings.TrimPrefix(address, "https://"), ":")
	return func(name string) string {
		return map[string]string{"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port}[name]
	}
}

func TestInCluster(t *testing.T) {
	outer := newBench(t, nil)
	now := time.Now()
	r, err := New(Config{Audience: audience, MountDir: outer.dir, Getenv: podEnv(outer.server.URL), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	r.backoff = time.Millisecond
	if _, err := r.Review(t.Context(), outer.token(nil)); err != nil {
		t.Fatal(err)
	}
	// Kubernetes replaces the zone's own token: the old one is refused before the
	// zone would have looked, and the new one is taken at once.
	outer.api.SetCaller("renewed")
	write(t, outer.dir, "token", "renewed\n")
	if _, err := r.Review(t.Context(), outer.token(nil)); err != nil {
		t.Errorf("after the token was renewed: %v", err)
	}
	// A CA that signed nothing of what answers: connections of before go on being
	// used by nobody.
	ca := read(t, outer.dir, "ca.crt")
	write(t, outer.dir, "ca.crt", selfSigned(t))
	now = now.Add(lookEvery)
	if _, err := r.Review(t.Context(), outer.token(nil)); federation.CodeOf(err) != federation.Unavailable {
		t.Errorf("with another CA: %v", err)
	}
	write(t, outer.dir, "ca.crt", ca)
	now = now.Add(lookEvery)
	if _, err := r.Review(t.Context(), outer.token(nil)); err != nil {
		t.Errorf("with the CA put back: %v", err)
	}
	// What cannot be used leaves what was good before.
	write(t, outer.dir, "token", "")
	now = now.Add(lookEvery)
	if _, err := r.Review(t.Context(), outer.token(nil)); err != nil {
		t.Errorf("with an empty token file: %v", err)
	}
}

func TestAPIServerOfTheConfiguration(t *testing.T) {
	b := newBench(t, nil)
	r, err := New(Config{Audience: audience, MountDir: b.dir, APIServer: b.server.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Review(t.Context(), b.token(nil)); err != nil {
		t.Error(err)
	}
}

func TestKubeconfigWithDataInside(t *testing.T) {
	b := newBench(t, nil)
	inline := strings.NewReplacer(
		"certificate-authority: ca.crt", "certificate-authority-data: "+base64.StdEncoding.EncodeToString([]byte(read(t, b.dir, "ca.crt"))),
		"tokenFile: token", "token: "+caller,
	).Replace(read(t, b.dir, "kubeconfig"))
	path := write(t, t.TempDir(), "kubeconfig", inline)
	r, err := New(Config{Audience: audience, Kubeconfig: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Review(t.Context(), b.token(nil)); err != nil {
		t.Error(err)
	}
}

func TestConfigurationsThatCannotWork(t *testing.T) {
	b := newBench(t, nil)
	good := read(t, b.dir, "kubeconfig")
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the kubeconfig", old)
		}
		return write(t, b.dir, "changed", strings.Replace(good, old, new, 1))
	}
	for name, tt := range map[string]struct {
		make func() Config
		says string
	}{
		"no audience": {func() Config { return Config{Kubeconfig: b.dir + "/kubeconfig"} }, "need an audience"},
		"no pod":      {func() Config { return Config{Audience: audience} }, "runs in no pod"},
		"no mounted token": {func() Config {
			return Config{Audience: audience, MountDir: "/nowhere", Getenv: podEnv("https://127.0.0.1:1")}
		}, "/nowhere/token cannot be read"},
		"no kubeconfig": {func() Config { return Config{Audience: audience, Kubeconfig: "/nowhere"} }, "/nowhere cannot be read"},
		"not YAML": {func() Config {
			return Config{Audience: audience, Kubeconfig: write(t, b.dir, "changed", "token: [secret-token")}
		}, "not a kubeconfig"},
		"no context": {func() Config { return Config{Audience: audience, Kubeconfig: swap("current-context: standin", "x: y")} }, "current-context"},
		"no cluster": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("cluster: standin", "cluster: gone")}
		}, `the cluster "gone"`},
		"no user":        {func() Config { return Config{Audience: audience, Kubeconfig: swap("user: zone", "user: gone")} }, `the user "gone"`},
		"no credentials": {func() Config { return Config{Audience: audience, Kubeconfig: swap("tokenFile: token", "as: jane")} }, "neither a token nor"},
		"without TLS":    {func() Config { return Config{Audience: audience, Kubeconfig: swap("https://", "http://")} }, "not the address"},
		"TLS not verified": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("certificate-authority: ca.crt", "insecure-skip-tls-verify: true")}
		}, "whoever answers"},
		"a program": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("tokenFile: token", "exec: {command: aws}")}
		}, "by a program"},
		"a password": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("tokenFile: token", "username: jane")}
		}, "by a password"},
		"CA not base64": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("certificate-authority: ca.crt", "certificate-authority-data: '%'")}
		}, "not base64"},
		"CA not PEM": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("certificate-authority: ca.crt", "certificate-authority: token")}
		}, "not a certificate in PEM"},
		"two tokens": {func() Config {
			write(t, b.dir, "two", "a\nb\n")
			return Config{Audience: audience, Kubeconfig: swap("tokenFile: token", "tokenFile: two")}
		}, "not one token"},
		"half a client key": {func() Config {
			return Config{Audience: audience, Kubeconfig: swap("tokenFile: token", "client-certificate: ca.crt")}
		}, "do not fit"},
		"another address": {func() Config {
			return Config{Audience: audience, Kubeconfig: b.dir + "/kubeconfig", APIServer: "api:6443"}
		}, "not the address"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tt.make())
			e := federation.AsError(err)
			if e == nil || e.Code != federation.Invalid || e.Hint == "" || !strings.Contains(e.Detail, tt.says) {
				t.Fatalf("got %+v", e)
			}
			if strings.Contains(e.Detail+e.Hint, "secret-token") || strings.Contains(e.Detail, "\n") {
				t.Errorf("it says too much: %s", e.Detail)
			}
		})
	}
}

func TestHugeKubeconfig(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(path, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Audience: audience, Kubeconfig: path}); err == nil || !strings.Contains(err.Error(), "larger than 1 MiB") {
		t.Errorf("got %v", err)
	}
}

// TestFilesThatOthersMayUse: what a kubeconfig and the files that it names hold is a
// secret, or says whose word about tokens is believed. So do the files of a pod.
func TestFilesThatOthersMayUse(t *testing.T) {
	b := newBench(t, nil)
	cert, key := pairOf(t)
	write(t, b.dir, "client.crt", cert)
	write(t, b.dir, "client.key", key)
	named := strings.Replace(read(t, b.dir, "kubeconfig"), "tokenFile: token", "tokenFile: token\n    client-certificate: client.crt\n    client-key: client.key", 1)
	write(t, b.dir, "named", named)
	write(t, b.dir, "inline", strings.Replace(read(t, b.dir, "kubeconfig"), "tokenFile: token", "token: "+caller, 1))
	write(t, b.dir, "inline-key", strings.Replace(named, "client-key: client.key", "client-key-data: "+base64.StdEncoding.EncodeToString([]byte(key)), 1))
	for _, tt := range []struct {
		kubeconfig, file string
		warned, readable bool // by others
	}{
		{"named", "named", false, true},
		{"named", "ca.crt", false, true},
		{"named", "token", true, true},
		{"named", "client.crt", false, true},
		{"named", "client.key", false, false},
		{"inline", "inline", true, true},
		{"inline-key", "inline-key", false, false},
		{"", "token", false, true}, // as Kubernetes mounts it
		{"", "ca.crt", false, true},
	} {
		for mode, readable := range map[os.FileMode]bool{0o600: true, 0o644: tt.readable, 0o666: false} {
			path := filepath.Join(b.dir, tt.file)
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			cfg := Config{Audience: audience, MountDir: b.dir, Getenv: podEnv(b.server.URL), Logger: slog.New(slog.NewTextHandler(&log, nil))}
			if tt.kubeconfig != "" {
				cfg.Kubeconfig = filepath.Join(b.dir, tt.kubeconfig)
			}
			r, err := New(cfg)
			if (err == nil) != readable || err != nil && (federation.AsError(err).Reason != disk.TooOpen || !strings.Contains(err.Error(), path)) {
				t.Errorf("kubeconfig %q, %s of mode %#o: %v", tt.kubeconfig, tt.file, mode, err)
			}
			if warned := strings.Count(log.String(), "level=WARN"); (warned == 1) != (tt.warned && mode == 0o644) || warned > 1 {
				t.Errorf("kubeconfig %q, %s of mode %#o: %d warnings", tt.kubeconfig, tt.file, mode, warned)
			}
			if err == nil {
				// What others may write later is not taken over.
				if err := os.Chmod(path, 0o666); err != nil {
					t.Fatal(err)
				}
				was := r.access.now.Load()
				r.access.follow.Check()
				if r.access.now.Load() != was {
					t.Errorf("kubeconfig %q: %s was taken over though others may write it", tt.kubeconfig, tt.file)
				}
			}
			if err := os.Chmod(path, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// pairOf is a certificate and its key.
func pairOf(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	source, err := tlsutil.OpenSelfMade(dir, tlsutil.Identity{Cluster: "other", Role: tlsutil.RoleZone, Name: "west"}, []string{"127.0.0.1"}, tlsutil.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return read(t, "", source.Files().Cert), read(t, "", source.Files().Key)
}

// selfSigned is the CA of somebody else.
func selfSigned(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if _, err := tlsutil.OpenSelfMade(dir, tlsutil.Identity{Cluster: "other", Role: tlsutil.RoleZone, Name: "west"}, []string{"127.0.0.1"}, tlsutil.Options{}); err != nil {
		t.Fatal(err)
	}
	return read(t, dir, "ca.crt")
}

func write(t *testing.T, dir, name, text string) (path string) {
	t.Helper()
	path = filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
