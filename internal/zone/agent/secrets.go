package agent

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
)

// secretFiles are what Envoy reads the token and the CA of its zone from, for as long as it
// runs: it takes a file that was renamed over another at once.
type secretFiles struct {
	agent     *Agent
	token, ca string          // paths; no ca where the CAs are the zone's own
	tls       *tlsutil.Source // of the CAs

	hadToken string
	hadCA    *x509.CertPool
}

func (a *Agent) secretsIn(dir string) *secretFiles {
	s := &secretFiles{agent: a, token: filepath.Join(dir, "token.json"), tls: a.tls}
	if s.tls == nil {
		s.tls = a.systemCAs()
	}
	if s.tls != nil {
		s.ca = filepath.Join(dir, "ca.json")
	}
	return s
}

// systemFiles are where systems keep the CAs that they trust, as Go's own library knows them.
var systemFiles = []string{
	"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem",
	"/etc/pki/tls/cacert.pem", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem",
}

// systemCAs are those by which the agent judges the zone where no file is named; Envoy has no
// CAs but those of a file. nil: there is none, and Envoy believes what the zone says is its CA.
func (a *Agent) systemCAs() *tlsutil.Source {
	files := systemFiles
	if file := os.Getenv("SSL_CERT_FILE"); file != "" {
		files = []string{file}
	}
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			continue
		}
		source, err := tlsutil.OpenSource(tlsutil.Files{CA: file}, tlsutil.Options{Logger: a.cfg.Logger})
		if err == nil {
			return source
		}
		a.cfg.Logger.Warn("the CAs of this machine cannot be given to Envoy", "file", file, "error", err)
	}
	return nil
}

// write makes the files anew whose content has changed. What is wrong with one keeps nobody
// from the other.
func (s *secretFiles) write() error { return errors.Join(s.writeToken(), s.writeCA()) }

func (s *secretFiles) writeToken() error {
	token, err := s.agent.token()
	if err != nil || token == s.hadToken {
		return err
	}
	if err := replaceFile(s.token, func() ([]byte, error) { return envoyres.TokenFile(token) }); err != nil {
		return err
	}
	s.hadToken = token
	return nil
}

func (s *secretFiles) writeCA() error {
	if s.tls == nil {
		return nil
	}
	s.tls.Check()
	m := s.tls.Current()
	if m.Pool == s.hadCA {
		return nil
	}
	if err := replaceFile(s.ca, func() ([]byte, error) { return envoyres.CAFile(pemOf(m.CAs)) }); err != nil {
		return err
	}
	s.hadCA = m.Pool
	return nil
}

func pemOf(certs []*x509.Certificate) string {
	var text strings.Builder
	for _, c := range certs {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a builder takes everything
	}
	return text.String()
}

// follow keeps the files as new as the agent's own until Envoy is over.
func (s *secretFiles) follow(ctx context.Context, over <-chan struct{}) {
	ticker := time.NewTicker(s.agent.lookEvery)
	defer ticker.Stop()
	failed := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-over:
			return
		case <-ticker.C:
			had, hadCA := s.hadToken, s.hadCA
			err := s.write()
			if err != nil && err.Error() != failed {
				s.agent.cfg.Logger.Warn("the token or the CAs of Envoy cannot be read or written anew, and the former ones stay in use", "error", err)
			}
			failed = ""
			if err != nil {
				failed = err.Error()
			}
			if had != s.hadToken {
				s.agent.cfg.Logger.Info("the token was replaced: Envoy shows the new one from its next connection on")
			}
			if hadCA != s.hadCA {
				s.agent.cfg.Logger.Info("the CA of the zone was replaced: Envoy believes the new one from its next connection on")
			}
		}
	}
}

// replaceFile puts a file whole in the place of another. It need not survive the machine.
func replaceFile(path string, content func() ([]byte, error)) error {
	data, err := content()
	if err == nil {
		err = os.WriteFile(path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return federation.Errorf(federation.Internal, "writing %s for Envoy: %w", path, err)
	}
	return nil
}
