package keys

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

func dryRunFlag() cli.Flag {
	return &cli.BoolFlag{Name: "dry-run", Usage: "change nothing, and show what uses the key"}
}

// zoneUse is what uses a key at one zone.
type zoneUse struct {
	Zone   string `json:"zone"`
	Online bool   `json:"online"`
	// Sessions are those of proxies and others with a token of the key, ControlPlanes the
	// zone's own that proved themselves with one.
	Sessions      uint64 `json:"sessions"`
	ControlPlanes uint64 `json:"controlPlanes"`
}

// usesOf counts what uses a key, zone by zone, as the zones said last.
func usesOf(key apitypes.Key, zones []apitypes.ZoneState) (uses []zoneUse) {
	uses = []zoneUse{}
	for _, z := range zones {
		use := zoneUse{Zone: z.Name, Online: z.Online}
		for _, s := range z.Sessions {
			if s.Disconnected != nil {
				continue
			}
			for _, live := range s.LiveKeys {
				if live.Kind == key.Kind && live.Mesh == key.Mesh && live.KID == key.KID {
					use.Sessions += live.Sessions
				}
			}
			if provedBy(s, key) {
				use.ControlPlanes++
			}
		}
		if use.Sessions+use.ControlPlanes > 0 {
			uses = append(uses, use)
		}
	}
	return uses
}

// provedBy reports whether a control plane proved itself with a token of the key.
func provedBy(s apitypes.Session, key apitypes.Key) bool {
	return cptoken.Kind(key.Kind) == cptoken.ControlPlane && s.TokenSerial != 0 && strconv.FormatUint(s.TokenSerial, 10) == key.KID
}

func total(uses []zoneUse) (n uint64) {
	for _, u := range uses {
		n += u.Sessions + u.ControlPlanes
	}
	return n
}

// keyUse is what a step in a key's life would meet.
type keyUse struct {
	Key    apitypes.Key           `json:"key"`
	Zones  []zoneUse              `json:"zones"`
	Tokens apiclient.IssuedTokens `json:"tokens"` // those that are valid
	// Refused is why the step would be refused as it was asked for; empty where it would not.
	Refused string `json:"refused,omitempty"`
}

// refusal says why a step would be refused, and what to do; "" where it would not.
func refusal(key apitypes.Key, step string, forced bool) (why, hint string) {
	rotate := "rotate first: global keys rotate " + cptoken.Kind(key.Kind).Arguments(key.Mesh)
	switch {
	case key.State == string(cptoken.Active) && step == "removing":
		return "it is the key that signs", rotate
	case key.State == string(cptoken.Active) && !forced:
		return "it is the key that signs, and nothing would without it", rotate + ", which retires it; or force it (--force)"
	case step == "removing" && key.State == string(cptoken.Retiring) && !forced:
		return "tokens that it signed may be valid", "issue those anew first, then remove the key with --force"
	}
	return "", ""
}

// showUse shows what uses a key, and changes nothing.
func showUse(c *cli.Context, format console.Format, g *apiclient.Global, key apitypes.Key, step string) error {
	zones, err := g.ZoneStates(c.Context)
	if err != nil {
		return err
	}
	issued, err := g.IssuedTokens(c.Context, apiclient.TokenQuery{Kind: key.Kind, Mesh: key.Mesh, KID: key.KID, Limit: client.MaxListed}, time.Now())
	if err != nil && federation.CodeOf(err) != federation.Forbidden {
		return err
	}
	use := keyUse{Key: key, Zones: usesOf(key, zones), Tokens: apiclient.IssuedTokens{Items: []apiclient.IssuedToken{}, Since: issued.Since, Silent: issued.Silent}}
	tokens := map[string]int{}
	for _, t := range issued.Items {
		if t.Valid() {
			use.Tokens.Items = append(use.Tokens.Items, t)
			tokens[t.Zone]++
		}
	}
	var hint string
	use.Refused, hint = refusal(key, step, c.Bool("force") || c.Bool("compromised"))
	if err := console.Print(c.App.Writer, format, use, func() io.WriterTo { return useTable(use.Zones, tokens) }); err != nil {
		return err
	}
	voice := console.VoiceOf(c.App)
	effect := map[string]string{"removing": "ends these sessions and refuses these tokens", "retiring": "ends nothing: these go on until the key is removed"}[step]
	voice.Say("%s %s %s: %s, %s; nothing was changed", step, keyTitle(key), effect,
		console.Counted(int(total(use.Zones)), "open session", "open sessions"), console.Counted(len(use.Tokens.Items), "valid token", "valid tokens"))
	if use.Refused != "" {
		voice.Warn("%s %s would be refused: %s", step, keyTitle(key), use.Refused)
		voice.Hint("%s", hint)
	}
	tellIncomplete(voice, key, use.Tokens, zones)
	return nil
}

// useTable has a row for each zone that uses the key, or that tokens of it are for.
func useTable(uses []zoneUse, tokens map[string]int) *console.Table {
	t := console.NewTable("ZONE", "OPEN SESSIONS", "CONTROL PLANES", "VALID TOKENS")
	for _, u := range uses {
		t.Row(u.Zone, strconv.FormatUint(u.Sessions, 10), strconv.FormatUint(u.ControlPlanes, 10), strconv.Itoa(tokens[u.Zone]))
		delete(tokens, u.Zone)
	}
	for _, zone := range slices.Sorted(maps.Keys(tokens)) {
		name := zone
		if name == "" {
			name = "(any)"
		}
		t.Row(name, "0", "0", strconv.Itoa(tokens[zone]))
	}
	return t
}

// tellIncomplete says what the answer cannot know.
func tellIncomplete(voice *console.Voice, key apitypes.Key, tokens apiclient.IssuedTokens, zones []apitypes.ZoneState) {
	switch {
	case key.Registered:
		voice.Warn("others sign with this key: their tokens are known to nobody here")
	case tokens.Since != nil:
		voice.Warn("tokens issued before %s are not known: the members keep no older records", tokens.Since.UTC().Format(time.RFC3339))
	}
	for _, member := range tokens.Silent {
		voice.Warn("member %s does not answer: what it issued is missing here", member)
	}
	var silent []string
	for _, z := range zones {
		if z.Enabled && !z.Online {
			silent = append(silent, z.Name)
		}
	}
	if len(silent) > 0 {
		voice.Warn("offline, and may have more: %s", console.Names(silent))
	}
}

// heldKey shows who has a key and who has not. The exit code is 3 where somebody has not.
func heldKey(c *cli.Context, format console.Format, g *apiclient.Global, keys []apitypes.Key, name string) error {
	for _, k := range keys {
		if k.Name != name && fmt.Sprintf("%s-%s", client.TokenName(k.Kind), k.KID) != name {
			continue
		}
		holding, err := g.Holding(c.Context, k.Kind, k.Mesh, k.KID)
		if err != nil {
			return err
		}
		var lacking []string
		err = console.Print(c.App.Writer, format, holding, func() io.WriterTo {
			t := console.NewTable("NAME", "HOLDS")
			for _, group := range []struct {
				names []string
				says  string
			}{{holding.Held, "yes"}, {holding.Waiting, "no"}, {holding.Offline, "no: offline"}, {holding.Unproven, "unknown: it did not prove who it is"},
				{holding.Members, "no: a member"}, {holding.Silent, "unknown: a silent member"}} {
				for _, name := range group.names {
					t.Row(name, group.says)
				}
			}
			return t
		})
		if lacking = append(append(append(lacking, holding.Waiting...), holding.Offline...), holding.Members...); err == nil && len(lacking) > 0 {
			return console.Pending(federation.Errorf(federation.Conflict, "not known to have %s: %s", name, console.Names(lacking)).
				WithHint("see `global inspect zones` for what keeps them"))
		}
		return err
	}
	return federation.Errorf(federation.NotFound, "there is no key %.80q", name).
		WithHint("the names are in `global keys list`, for example %s", strings.TrimSpace(firstName(keys)))
}

func firstName(keys []apitypes.Key) string {
	for _, k := range keys {
		if k.Name != "" {
			return k.Name
		}
	}
	return "zone-token-signing-key-1"
}
