package kube

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
)

// Serve starts the API server over TLS on a free port of loopback, and writes to
// dir what asks it: a kubeconfig, the CA (ca.crt) and the caller's token (token),
// the last two also as Kubernetes mounts them. The caller closes the server.
func (a *API) Serve(dir, caller string) (*httptest.Server, error) {
	server := httptest.NewTLSServer(a)
	err := WriteAccess(dir, server, caller)
	if err != nil {
		server.Close()
		return nil, err
	}
	return server, nil
}

// WriteAccess writes what asks the server with the bearer token caller to dir.
func WriteAccess(dir string, server *httptest.Server, caller string) error {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	config := `apiVersion: v1
kind: Config
current-context: standin
contexts:
- name: standin
  context: {cluster: standin, user: zone}
clusters:
- name: standin
  cluster:
    server: ` + server.URL + `
    certificate-authority: ca.crt
users:
- name: zone
  user:
    tokenFile: token
`
	for name, data := range map[string][]byte{"ca.crt": ca, "token": []byte(caller + "\n"), "kubeconfig": []byte(config)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}
