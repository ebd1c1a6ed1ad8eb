package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/tokenfile"
)

// tokenEnv is the variable in which users of Kuma hand a proxy its token.
const tokenEnv = "KUMA_DATAPLANE_RUNTIME_TOKEN"

// proxyTypes are the kinds of proxies that a zone authenticates.
var proxyTypes = [...]string{"dataplane", "ingress", "egress"}

func verifyCommand() *cli.Command {
	tags := console.Tags{}
	return &cli.Command{
		Name:  "verify",
		Usage: "ask a running zone whether it accepts a proxy's token",
		Description: `Exit code 0 means accepted, 1 refused; the reason of a refusal is one word in
brackets, such as expired, revoked, wrong_zone or out_of_scope. The zone is asked
the way a proxy asks it, and nothing changes by it.

Examples:
  zone verify --token-file egress.token --proxy-type egress --data-dir west-data
  zone verify --token-file dp.token --mesh default --name dp-echo-1 \
     --tag kuma.io/service=backend
  global generate zone-token --zone west | zone verify --token-file - \
     --proxy-type ingress`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the proxy's token, - for standard input [the token itself in " + tokenEnv + "]"},
			&cli.StringFlag{Name: "proxy-type", Usage: "the `TYPE` of the proxy: dataplane, ingress or egress", Value: "dataplane", DefaultText: "what a zone token is for, else dataplane"},
			&cli.StringFlag{Name: "mesh", Usage: "the `MESH` of the data plane proxy", Value: cptoken.DefaultMesh},
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of the proxy"},
			&cli.GenericFlag{Name: "tag", Usage: "values that the data plane proxy carries for a tag: `NAME=VALUE`[,VALUE…]; may be repeated", Value: tags},
			&cli.StringFlag{Name: "workload", Usage: "the workload of the data plane proxy, its label kuma.io/workload: `NAME`"},
			&cli.StringFlag{Name: "dp-address", Usage: "`URL` of the zone's port for proxies [ZONE_DP_ADDRESS]", DefaultText: "https://127.0.0.1:5678"},
			console.CAFileFlag("zone"),
			console.DataDirFlag("zone"),
			console.OutputFlag(),
		},
		Action: func(c *cli.Context) error { return verify(c, tags) },
	}
}

func verify(c *cli.Context, tags console.Tags) error {
	format, err := console.FormatOf(c)
	if err != nil {
		return err
	}
	proxyType := c.String("proxy-type")
	if !slices.Contains(proxyTypes[:], proxyType) {
		return console.Usage(federation.InvalidField("--proxy-type", "%.40q is not a type of proxy: use dataplane, ingress or egress", proxyType))
	}
	token, err := proxyToken(c)
	if err != nil {
		return err
	}
	if !c.IsSet("proxy-type") {
		proxyType = typeFor(token, proxyType)
	}
	target, err := resolve(c, apiclient.ProxyPort(), c.String("dp-address"), "")
	if err != nil {
		return err
	}
	proxies, err := apiclient.NewProxies(target, agent(c))
	if err != nil {
		return err
	}
	request := apitypes.AuthenticateRequest{Token: token, ProxyType: proxyType, Name: c.String("name")}
	if proxyType == "dataplane" {
		request.Mesh, request.Tags = c.String("mesh"), tags
		if workload := c.String("workload"); workload != "" {
			request.Labels = map[string]string{cptoken.WorkloadLabel: workload}
		}
	}
	identity, err := proxies.Authenticate(c.Context, request)
	if err != nil && !apiclient.Refused(err) {
		return err
	}
	return tell(c.App.Writer, format, verdictOf(identity, err), err)
}

// typeFor is the type of proxy that a zone token is for, where the user does not say;
// otherwise it is other.
func typeFor(token, other string) string {
	t, err := cptoken.Inspect(token)
	if err != nil || t.Claims.Kind != cptoken.Zone {
		return other
	}
	for _, proxyType := range proxyTypes {
		if slices.Contains(t.Claims.Scope, cptoken.Scope(proxyType)) {
			return proxyType
		}
	}
	return other
}

// proxyToken reads the token to ask about.
func proxyToken(c *cli.Context) (string, error) {
	if file := c.String("token-file"); file != "" {
		return tokenfile.ReadArgument(file, c.App.Reader, warn(c))
	}
	token, err := tokenfile.Parse(tokenEnv, os.Getenv(tokenEnv))
	if err == nil && token == "" {
		err = console.Usagef("for example --token-file egress.token, or - for standard input", "%s: --token-file is missing", c.Command.HelpName)
	}
	return token, err
}

// verdict is the zone's answer as JSON and YAML show it.
type verdict struct {
	Accepted bool               `json:"accepted"`
	Identity *apitypes.Identity `json:"identity,omitempty"`
	Reason   string             `json:"reason,omitempty"`
	Detail   string             `json:"detail,omitempty"`
}

func verdictOf(identity apitypes.Identity, refusal error) verdict {
	if refusal == nil {
		return verdict{Accepted: true, Identity: &identity}
	}
	e := federation.AsError(refusal)
	return verdict{Reason: e.Reason, Detail: e.Detail}
}

// tell prints the verdict. A refusal is the command's error as well; in a table
// it is that alone.
func tell(w io.Writer, format console.Format, v verdict, refusal error) error {
	if v.Accepted || !format.IsTable() {
		if err := console.Print(w, format, v, func() io.WriterTo { return identityLines(v.Identity, time.Now()) }); err != nil {
			return err
		}
	}
	if refusal == nil {
		return nil
	}
	e := *federation.AsError(refusal)
	e.Detail = fmt.Sprintf("refused (%s): %s", e.Reason, e.Detail)
	return &e
}

// provedBy says what the proxy was accepted for.
func provedBy(id *apitypes.Identity) string {
	switch {
	case id.Kind != "":
		return kindName(id.Kind)
	case id.ServiceAccount != "":
		return "service account token"
	}
	return "without any proof, as this zone is configured"
}

// identityLines shows what an accepted token proves.
func identityLines(id *apitypes.Identity, now time.Time) io.WriterTo {
	var f console.Fields
	f.Add("accepted", provedBy(id))
	f.Add("zone", id.Zone)
	f.Add("scope", strings.Join(id.Scope, ", "))
	f.Add("mesh", id.Mesh)
	f.Add("name", id.Name)
	f.Add("workload", id.Workload)
	f.Add("account", id.ServiceAccount)
	f.Add("proved", strings.Join(id.Proved, ", "))
	f.Add("id (jti)", id.ID)
	var expires time.Time
	if id.Expires != nil {
		expires = *id.Expires
	}
	f.Add("expires", console.Moment(expires, now, "never"))
	f.Add("decided at", "revision "+id.Revision)
	return &f
}
