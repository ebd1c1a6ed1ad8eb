package fleet

import (
	"time"

	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/clock"
	"github.com/meridiankds/meridian/kds/kuma"
)

// Overview is a zone as the API of Kuma's tools shows it, with its record. The sessions that
// are online come last, because Kuma's clients take the last subscription for the zone's state.
func (seen Zone) Overview(z federation.Zone) apitypes.ZoneOverview {
	o := apitypes.ZoneOverview{
		Type: apitypes.TypeZoneOverview, Name: z.Name,
		CreationTime: stamp(z.Created), ModificationTime: stamp(z.Modified),
		Zone:        apitypes.ZoneSpec{Enabled: z.Enabled},
		ZoneInsight: apitypes.ZoneInsight{Subscriptions: []apitypes.Subscription{}},
	}
	var online []apitypes.Subscription
	for _, s := range seen.Sessions {
		sub := subscriptionJSON(s)
		if s.Online {
			online = append(online, sub)
			continue
		}
		o.ZoneInsight.Subscriptions = append(o.ZoneInsight.Subscriptions, sub)
	}
	o.ZoneInsight.Subscriptions = append(o.ZoneInsight.Subscriptions, online...)
	return o
}

func subscriptionJSON(s Session) apitypes.Subscription {
	sub := apitypes.Subscription{
		ID: s.Instance, GlobalInstanceID: s.Member, ConnectTime: stamp(s.Connected),
		Status: apitypes.SubscriptionStatus{
			LastUpdateTime: stamp(s.LastHeard), Stat: map[string]apitypes.ResponseCount{},
			Total: apitypes.ResponseCount{ResponsesSent: s.Sent, ResponsesAcknowledged: s.Accepted, ResponsesRejected: s.Rejected},
		},
		Version: apitypes.SubscriptionVersion{KumaCP: apitypes.CPVersion{Version: s.Version}}, Config: kuma.StoreConfig(s.Store),
	}
	if !s.Online {
		// A session that is open and yet not online has no end to show; to the
		// reader it ended when it was last heard.
		sub.DisconnectTime = stamp(clock.Last(s.Connected, s.LastHeard))
		if !s.Open() {
			sub.DisconnectTime = stamp(s.Disconnected)
		}
	}
	return sub
}

// State is a zone as Meridian's API shows it, with its record; head is where this member is.
func (seen Zone) State(z federation.Zone, head federation.Revision) apitypes.ZoneState {
	j := apitypes.ZoneState{
		Name: z.Name, Enabled: z.Enabled, Auth: string(z.Auth), Online: seen.Online,
		Sessions: make([]apitypes.Session, 0, len(seen.Sessions)), FirstSeen: stamp(z.FirstSeen), LastSeen: stamp(seen.LastSeen),
	}
	for _, s := range seen.Sessions {
		var unheeded []string
		if !s.Meridian {
			unheeded = kuma.Unheeded(s.Version)
		}
		sets, live := s.KeyUse()
		j.Sessions = append(j.Sessions, apitypes.Session{
			Instance: s.Instance, Version: s.Version, Member: s.Member, Remote: s.Remote,
			Connected: stamp(s.Connected), Disconnected: stamp(s.Disconnected), LastHeard: stamp(s.LastHeard),
			Online: s.Online, Meridian: s.Meridian, Unheeded: unheeded, Revision: s.Acked.String(), Behind: behind(s.Acked, head),
			Authenticated: s.Authenticated, Method: s.Method, TokenSerial: s.TokenSerial, TokenID: s.TokenID,
			TokenExpires: stamp(s.TokenExpires), Verdict: s.Verdict, NotHeld: s.Lacking(), Kept: s.Kept(), KeySets: sets, LiveKeys: live, Nack: s.Nack,
		})
	}
	return j
}

// behind is how far a session's revision lies behind the head, nil where the two
// cannot be compared. This node may itself lag behind the session's member.
func behind(acked, head federation.Revision) *uint64 {
	if acked.History != head.History {
		return nil
	}
	var n uint64
	if acked.Index < head.Index {
		n = head.Index - acked.Index
	}
	return &n
}

// stamp is a time as the API shows it, absent where there is none.
func stamp(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
