package node

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/internal/global/fleet"
	"github.com/meridiankds/meridian/internal/global/peer"
)

const (
	// pictureEvery is how often a member asks the leader which zones are where: some
	// hundred bytes a zone.
	pictureEvery = 5 * time.Second
	// pictureLife is how long that is shown where there is no leader any more.
	pictureLife = time.Hour
)

// keepPicture has a member that does not lead remember what the leader last knew of all
// zones, so that it can still be asked when the leader is lost.
func (n *Node) keepPicture(ctx context.Context) error {
	ticker := time.NewTicker(pictureEvery)
	defer ticker.Stop()
	for {
		n.peers.recall(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// recall asks once. A leader that cannot tell leaves the last picture as it is.
func (p *peers) recall(ctx context.Context) {
	before := p.fleet.Leadership()
	to, err := p.leader()
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	picture, err := p.client.Picture(ctx, to)
	if err != nil {
		return
	}
	var reports []fleet.Report
	for _, m := range picture.Members {
		reports = append(reports, fleet.Report{Member: m.Member, Applied: m.Applied, Sessions: m.Sessions})
	}
	p.fleet.Recall(before, p.store.NodeID(), reports, p.now().Add(pictureLife))
}

// Picture answers a member that asks; it is part of peer.Node.
func (p *peers) Picture() (peer.Picture, error) {
	if !p.leading() {
		return peer.Picture{}, notLeading()
	}
	var picture peer.Picture
	for _, r := range p.fleet.Reports() {
		picture.Members = append(picture.Members, peer.MemberPicture{Member: r.Member, Applied: r.Applied, Sessions: r.Sessions})
	}
	return picture, nil
}
