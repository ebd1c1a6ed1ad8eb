package proxyport

import (
	"net/http"

	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/rollout"
)

func (s *Server) proxies(w http.ResponseWriter, _ *http.Request) {
	out := apitypes.ZoneProxies{Items: []apitypes.ZoneProxy{}}
	for _, c := range s.cfg.Proxies.Proxies() {
		out.Items = append(out.Items, proxyOf(c))
	}
	out.Total = len(out.Items)
	apierr.WriteJSON(w, http.StatusOK, out)
}

func proxyOf(c *proxies.Connection) apitypes.ZoneProxy {
	p := apitypes.ZoneProxy{
		Type: c.ID.Type, Mesh: c.ID.Mesh, Name: c.ID.Name, Tags: c.Resource.Tags(), Identity: *identityOf(c.Admission),
		Remote: c.Remote, Protocol: c.Protocol, Version: c.Version, Since: c.Since.UTC(), Resources: []apitypes.ZoneProxyResources{},
	}
	for _, sub := range c.Subscriptions() {
		p.Resources = append(p.Resources, apitypes.ZoneProxyResources{
			Type: sub.Type, Sent: sub.Sent, Nonce: sub.SentNonce, Acknowledged: sub.Acknowledged, Refused: sub.Refused, At: sub.At.UTC(),
			Wanted: sub.Status.Wanted, InPlace: sub.Status.InPlace, Removing: sub.Status.Removing, HeldBack: heldBack(sub.Status),
		})
	}
	return p
}

func heldBack(s rollout.Status) (list []apitypes.HeldBack) {
	for _, h := range s.Refused {
		list = append(list, apitypes.HeldBack{Name: h.Name, Refused: true, Reason: h.Reason})
	}
	for _, h := range s.Waiting {
		list = append(list, apitypes.HeldBack{Name: h.Name, Reason: h.Reason})
	}
	return list
}
