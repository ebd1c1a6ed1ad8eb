package proxyport

import (
	"encoding/json"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apierr"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/redact"
	"github.com/meridiankds/meridian/internal/zone/envoyres"
	"github.com/meridiankds/meridian/internal/zone/proxies"
	"github.com/meridiankds/meridian/internal/zone/rollout"
)

// proxyConfig answers what the connections of a proxy have and are to have.
func (s *Server) proxyConfig(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	kind, mesh, name := query.Get("type"), query.Get("mesh"), query.Get("name")
	if name == "" {
		apierr.WriteError(w, federation.InvalidField("name", "must not be empty").WithHint("name the proxy: ?name=backend-1"))
		return
	}
	out := apitypes.ZoneProxyConfigs{Items: []apitypes.ZoneProxyConfig{}}
	for _, c := range s.cfg.Proxies.Proxies() {
		if c.ID.Name != name || kind != "" && c.ID.Type != kind || mesh != "" && c.ID.Mesh != "" && c.ID.Mesh != mesh {
			continue
		}
		one, err := configOf(c)
		if err != nil {
			apierr.WriteError(w, err)
			return
		}
		out.Items = append(out.Items, one)
	}
	if len(out.Items) == 0 {
		apierr.WriteError(w, federation.Errorf(federation.NotFound, "no proxy %.80q is connected here", name).
			WithHint("`zone get proxies` shows who is; a proxy is connected to one control plane of its zone"))
		return
	}
	apierr.WriteJSON(w, http.StatusOK, out)
}

func configOf(c *proxies.Connection) (apitypes.ZoneProxyConfig, error) {
	out := apitypes.ZoneProxyConfig{Type: c.ID.Type, Mesh: c.ID.Mesh, Name: c.ID.Name, Remote: c.Remote, Protocol: c.Protocol,
		Resources: []apitypes.ZoneProxyConfigOfName{}}
	for _, h := range c.Holdings() {
		one := apitypes.ZoneProxyConfigOfName{Type: envoyres.URL(h.Key.Kind), Name: h.Key.Name, State: h.State, Reason: redact.Text(h.Reason)}
		var err error
		if one.Has, err = shown(h.Has); err != nil {
			return out, err
		}
		if h.State != rollout.Acknowledged {
			if one.Wanted, err = shown(h.Wanted); err != nil {
				return out, err
			}
		}
		out.Resources = append(out.Resources, one)
	}
	return out, nil
}

// shown is a resource as JSON without its secrets; nil of nil.
func shown(r *envoyres.Resource) (any, error) {
	if r == nil {
		return nil, nil
	}
	text, err := protojson.Marshal(r.Message)
	var v any
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		return nil, federation.Errorf(federation.Internal, "showing %s: %w", r.Key, err)
	}
	return redact.JSON(v), nil
}
