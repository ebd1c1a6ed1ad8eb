package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
)

// runApp runs a command line in this process.
func runApp(args ...string) (code int, out, errs string) {
	var o, e bytes.Buffer
	app := newApp(console.IO{In: strings.NewReader(""), Out: &o, Err: &e})
	code = console.Run(context.Background(), app, append([]string{"global"}, args...))
	return code, o.String(), e.String()
}

func TestExitCodes(t *testing.T) {
	for line, want := range map[string]int{
		"version":                            console.ExitOK,
		"":                                   console.ExitOK,
		"get zones --help":                   console.ExitOK,
		"inspect token /nowhere":             console.ExitError,
		"get zones --address http://[::1]:1": console.ExitError,
		"nonsense":                           console.ExitUsage,
		"get zones --nonsense":               console.ExitUsage,
		"get zones -o nonsense":              console.ExitUsage,
		"keys rotate nonsense":               console.ExitUsage,
		"generate zone-token":                console.ExitUsage,
		"generate zone-token --zone A":       console.ExitUsage,
		"generate zone-token --valid-for x":  console.ExitUsage,
	} {
		if code, out, errs := runApp(strings.Fields(line)...); code != want {
			t.Errorf("global %s: exit %d, want %d\n%s%s", line, code, want, out, errs)
		}
	}
}

// leaves yields every command that does something, as words on a command line.
func leaves(commands []*cli.Command, path []string, yield func([]string, *cli.Command)) {
	for _, c := range commands {
		words := append(append([]string{}, path...), c.Name)
		if len(c.Subcommands) == 0 {
			yield(words, c)
		}
		leaves(c.Subcommands, words, yield)
	}
}

func TestEveryCommandHasHelpWithExamples(t *testing.T) {
	app := newApp(console.IO{})
	leaves(app.Commands, nil, func(words []string, c *cli.Command) {
		line := strings.Join(words, " ")
		code, out, errs := runApp(append(words, "--help")...)
		if code != 0 || errs != "" || !strings.HasPrefix(out, "global "+line+": ") {
			t.Errorf("global %s --help: exit %d\n%s%s", line, code, out, errs)
		}
		_, examples, ok := strings.Cut(out, "Examples:\n")
		if !ok || !strings.Contains(examples, "global "+line) {
			t.Errorf("global %s --help has no example of itself", line)
		}
		if strings.Contains(out, "%!") || strings.HasSuffix(c.Usage, ".") || strings.ToLower(c.Usage[:1]) != c.Usage[:1] {
			t.Errorf("global %s: %q is not in our voice", line, c.Usage)
		}
		for _, f := range c.Flags {
			if doc, ok := f.(cli.DocGenerationFlag); !ok || doc.GetUsage() == "" {
				t.Errorf("global %s: the flag %s is not explained", line, f.Names()[0])
			}
		}
	})
}

func TestTokenLines(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	tests := []struct{ name, header, claims, want string }{
		{"control plane token of the users' documents' shape", `{"alg":"HS256","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":1}`, `kind:       control-plane-token
algorithm:  HS256
id (jti):   none, it is revoked as sha256:
zone:       west
serial:     1
issued:     not said
expires:    never
`},
		{"dataplane token", `{"alg":"RS256","kid":"3"}`, `{"Name":"dp1","Mesh":"default","Tags":{"version":["2"],"kuma.io/service":["a","b"]},"Type":"","exp":1795435200,"nbf":1795348500,"iat":1795348800,"jti":"x"}`, `kind:        dataplane-token
algorithm:   RS256
key (kid):   3
id (jti):    x
mesh:        default
name:        dp1
tags:        kuma.io/service=a,b version=2
issued:      2026-11-22T12:00:00Z (0s ago)
not before:  2026-11-22T11:55:00Z (5m ago)
expires:     2026-11-23T12:00:00Z (in 1d)
`},
		{"user token that has expired", `{"alg":"RS256","kid":"1"}`, `{"Name":"jane\u001b[31m","Groups":["admin","ops"],"exp":1795345200,"jti":"y"}`, `kind:       user-token
algorithm:  RS256
key (kid):  1
id (jti):   y
name:       jane [31m
groups:     admin, ops
issued:     not said
expires:    2026-11-22T11:00:00Z (1h ago)
`},
		{"somebody else's", `{"alg":"none"}`, `{"sub":"x"}`, `kind:       unknown: the claims look like no token of ours
algorithm:  none
id (jti):   none, it is revoked as sha256:
issued:     not said
expires:    never
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			token, err := cptoken.Inspect(unsigned(tt.header, tt.claims))
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			if _, err := tokenLines(token, now).WriteTo(&b); err != nil {
				t.Fatal(err)
			}
			got := b.String()
			if id := token.RevocationID(); token.Claims.ID == "" {
				got = strings.Replace(got, id, "sha256:", 1)
			}
			if got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

func TestNamesAreCounted(t *testing.T) {
	var many []string
	for range 1000 {
		many = append(many, "zone")
	}
	h := apitypes.Holding{Waiting: many, Members: []string{"n1"}}
	want := "zones zone, zone, zone, zone, zone, zone, zone, zone, zone, zone and 990 more; members n1"
	if got := describe(h); got != want {
		t.Errorf("got %q", got)
	}
	if got := describe(apitypes.Holding{}); got != "the global" {
		t.Errorf("nobody: %q", got)
	}
}
