package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// agent is what the bench calls itself in requests.
const agent = "bench"

// member is one process of `global server`.
type member struct {
	*process
	name, dir string
	id        string // in Raft
	kds       string // its port for zones, the same after every start
	of        *cluster
	start     func() (*process, error)
	ends      endpoints.Endpoints
	api       *apiclient.Global
}

// cluster is some members that found each other.
type cluster struct {
	*scope
	members []*member
	trust   string // folder with ca.crt alone

	reading sync.RWMutex // held while a member's API is replaced
}

// startCluster founds a cluster of n real globals, with certificates that `global
// certs` made, and waits until all of them vote.
func (s *scope) startCluster(ctx context.Context, n int) (*cluster, error) {
	c := &cluster{scope: s, trust: filepath.Join(s.dir, "trust")}
	args := []string{"certs", "cluster", "--cluster", "bench", "--trust", c.trust}
	var peers []string
	for i := range n {
		m := &member{name: fmt.Sprintf("global-%d", i+1), of: c}
		m.dir = filepath.Join(s.dir, m.name)
		c.members = append(c.members, m)
		args = append(args, "--node", m.name+"="+c.secrets(m))
		port, err := freePort()
		if err != nil {
			return nil, err
		}
		peers = append(peers, port)
		if m.kds, err = freePort(); err != nil {
			return nil, err
		}
	}
	if _, err := s.run(ctx, "global", args...); err != nil {
		return nil, err
	}
	for i, m := range c.members {
		m.start = func() (*process, error) {
			return s.start(m.name, c.line(m, peers[i], peers))
		}
		if err := m.launch(); err != nil {
			return nil, err
		}
	}
	for _, m := range c.members {
		if err := m.await(ctx); err != nil {
			return nil, err
		}
	}
	return c, c.awaitVoters(ctx)
}

func (c *cluster) secrets(m *member) string { return filepath.Join(c.dir, m.name+".secrets") }

// line is the command of a member, the same at every start.
func (c *cluster) line(m *member, peer string, peers []string) *exec.Cmd {
	secret := func(name string) string { return filepath.Join(c.secrets(m), name) }
	return c.program("global", "server", "--data-dir", m.dir,
		"--bootstrap-expect", fmt.Sprint(len(peers)), "--join", strings.Join(peers, ","), "--peer-addr", peer,
		"--seal-key-file", secret("seal.key"), "--ca-file", secret("ca.crt"),
		"--tls-cert-file", secret("node.crt"), "--tls-key-file", secret("node.key"),
		"--api-addr", "127.0.0.1:0", "--api-tls-addr", "127.0.0.1:0", "--kds-addr", m.kds,
		"--diagnostics-addr", "127.0.0.1:0", "--localhost-is-admin")
}

// freePort is a port that was free a moment ago: members must know each other's
// before they start.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launch starts the process. What a killed one left about its ports goes first.
func (m *member) launch() (err error) {
	_ = os.Remove(filepath.Join(m.dir, endpoints.FileName))
	m.process, err = m.start()
	return err
}

// await waits until the member answers, and finds its ports.
func (m *member) await(ctx context.Context) error {
	var api *apiclient.Global
	err := until(ctx, m.name+" to answer", func() (bool, error) {
		if !m.running() {
			return false, fmt.Errorf("%s ended", m.name)
		}
		e, err := endpoints.Read(m.dir)
		if err != nil {
			return false, err
		}
		m.ends = e
		if api, err = apiOf(e); err != nil {
			return false, err
		}
		_, err = api.Cluster(ctx)
		return err == nil, err
	})
	if err != nil {
		return m.failure(err)
	}
	m.of.reading.Lock()
	m.api = api
	m.of.reading.Unlock()
	m.id, err = nodeID(m.dir)
	return err
}

// nodeID reads a member's id from its folder: the API answers for the leader.
func nodeID(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, "node.json"))
	if err != nil {
		return "", fmt.Errorf("reading the id of a member: %w", err)
	}
	var node struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(data, &node); err != nil || node.ID == "" {
		return "", fmt.Errorf("reading the id of a member in %s: %q, %w", dir, node.ID, err)
	}
	return node.ID, nil
}

// apiOf is a client of a node's plain API on loopback.
func apiOf(e endpoints.Endpoints) (*apiclient.Global, error) {
	return apiclient.NewGlobal(apiclient.Target{Service: apiclient.API("global"), Address: "http://" + e.API}, agent)
}

func (c *cluster) awaitVoters(ctx context.Context) error {
	for _, m := range c.members {
		err := until(ctx, m.name+" to see all voters", func() (bool, error) {
			status, err := m.api.Cluster(ctx)
			return err == nil && status.Voters == len(c.members) && status.Leader != "", err
		})
		if err != nil {
			return m.failure(err)
		}
	}
	return nil
}

// leader returns the member that leads, once all agree on it, and the others.
func (c *cluster) leader(ctx context.Context) (leader *member, rest []*member, err error) {
	err = until(ctx, "a leader that all agree on", func() (bool, error) {
		said := map[string]bool{}
		leader, rest = nil, nil
		for _, m := range c.members {
			status, err := m.api.Cluster(ctx)
			if err != nil {
				return false, err
			}
			said[status.Leader] = true
			if m.id == status.Leader {
				leader = m
			} else {
				rest = append(rest, m)
			}
		}
		return len(said) == 1 && leader != nil, nil
	})
	return leader, rest, err
}

// newRevocation is a write that can be found again: a random id and how to revoke it.
func newRevocation() (id string, r apitypes.RevokeRequest) {
	id = uuid.NewString()
	return id, apitypes.RevokeRequest{Kind: "zone-token", IDs: []string{id}, Reason: agent}
}
