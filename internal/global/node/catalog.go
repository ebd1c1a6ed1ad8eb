package node

import (
	"time"

	"github.com/meridiankds/meridian/kds"
	"github.com/meridiankds/meridian/raftstore"
)

// freshFor is how long ago this member may have heard the leader to begin a zone of
// Kuma's with what it has: less than an election takes to be noticed.
const freshFor = 2 * time.Second

// catalog is the store as zones of Kuma's are shown it.
type catalog struct{ *raftstore.Store }

// Picture implements kds.Catalog.
func (c catalog) Picture() kds.Picture { return c.Store.Picture() }

// Fresh implements kds.Catalog. The leader has everything; who heard it just now is
// behind by less than zones could notice.
func (c catalog) Fresh() bool { return c.IsLeader() || c.LeaderContact() < freshFor && !c.leaderless() }

// leaderless reports that there is nobody to have heard.
func (c catalog) leaderless() bool {
	id, _ := c.Leader()
	return id == ""
}
