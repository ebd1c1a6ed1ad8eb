package node

import (
	"os"
	"path/filepath"

	"github.com/meridiankds/meridian/cptoken/issue"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/net/tlsutil"
)

// devCluster is the cluster's name in the certificates of `global dev`.
const devCluster = "dev"

// PrepareDev fills in what a laptop has not: it makes the data folder, a seal
// key and TLS material there, unless they are there from before, and sets c up
// as one node that founds its own cluster and leaves its administrator's token.
//
// It takes the folder for this process alone before it writes there, since a seal
// key that two processes make at once is lost to one of them. [New] goes on with that
// lock; where PrepareDev fails it has given it back.
func (c *Config) PrepareDev() (err error) {
	if err := c.lockDataDir(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			c.unlockDataDir()
		}
	}()
	seal, err := loadOrMakeSeal(filepath.Join(c.DataDir, "seal.key"))
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(filepath.Join(c.DataDir, "tls"))
	if err != nil {
		return federation.Errorf(federation.Internal, "finding the data folder: %w", err)
	}
	identity := tlsutil.Identity{Cluster: devCluster, Role: tlsutil.RoleNode, Name: "dev"}
	c.TLS, err = tlsutil.OpenSelfMade(dir, identity, []string{"localhost", "127.0.0.1", "::1"}, tlsutil.Options{
		Accept: tlsutil.KeepIdentity(tlsutil.RoleNode), Logger: c.Logger.With("component", "tls"), Now: c.Now,
	})
	if err != nil {
		return err
	}
	c.Seal = seal
	c.Bootstrap, c.LocalhostIsAdmin, c.WriteAdminToken = true, true, true
	return nil
}

// loadOrMakeSeal reads the seal key, or makes one in a folder that holds no
// state yet: a new key beside old state could never open it.
func loadOrMakeSeal(path string) (*issue.SealKeys, error) {
	if _, err := os.Stat(path); os.IsNotExist(err) {
		for _, state := range []string{"node.json", "raft.db", "snapshots"} {
			if _, err := os.Lstat(filepath.Join(filepath.Dir(path), state)); err == nil {
				return nil, federation.Errorf(federation.Internal, "%s is gone, and the keys in %s are sealed with it", path, filepath.Dir(path)).
					WithHint("put the file back, or begin anew with another --data-dir")
			}
		}
		line, err := issue.NewSealKey()
		if err != nil {
			return nil, err
		}
		if err := tlsutil.WriteFile(path, line, 0o600); err != nil {
			return nil, err
		}
	}
	return issue.LoadSealKeys(path)
}
