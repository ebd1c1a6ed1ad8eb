package cptoken

import (
	"reflect"
	"strings"
	"testing"

	"github.com/meridiankds/meridian/federation"
)

// TestAudiences: a user token is good where its audience says, and one that says nothing is
// good at the global alone. In tokens of other kinds "aud" is not ours.
func TestAudiences(t *testing.T) {
	const user = `{"Name":"ann","Groups":["admin"]`
	for claims, want := range map[string]struct {
		audience           []string
		global, west, east Reason
	}{
		user + `}`:                                 {nil, "", WrongAudience, WrongAudience},
		user + `,"aud":null}`:                      {nil, "", WrongAudience, WrongAudience},
		user + `,"aud":"zone:west"}`:               {[]string{"zone:west"}, WrongAudience, "", WrongAudience},
		user + `,"aud":["zone:west"]}`:             {[]string{"zone:west"}, WrongAudience, "", WrongAudience},
		user + `,"aud":["zone:west","zone:east"]}`: {[]string{"zone:west", "zone:east"}, WrongAudience, "", ""},
		user + `,"aud":[]}`:                        {[]string{}, WrongAudience, WrongAudience, WrongAudience},
		user + `,"aud":""}`:                        {[]string{""}, WrongAudience, WrongAudience, WrongAudience},
		user + `,"aud":["west"]}`:                  {[]string{"west"}, WrongAudience, WrongAudience, WrongAudience},
		user + `,"aud":["zone:WEST"]}`:             {[]string{"zone:WEST"}, WrongAudience, WrongAudience, WrongAudience},
		user + `,"aud":["zone:"]}`:                 {[]string{"zone:"}, WrongAudience, WrongAudience, WrongAudience},
	} {
		token, err := Parse(unsigned(header1, claims) + ".")
		if err != nil {
			t.Errorf("%s: %v", claims, err)
			continue
		}
		c := token.Claims
		if !reflect.DeepEqual(c.Audience, want.audience) {
			t.Errorf("%s: audience %q", claims, c.Audience)
		}
		for zone, reason := range map[string]Reason{"": want.global, "west": want.west, "east": want.east} {
			if got := ReasonOf(c.CheckAudience(zone)); got != reason {
				t.Errorf("%s at zone %q: %q, want %q", claims, zone, got, reason)
			}
		}
	}
	for _, bad := range []string{`{}`, `1`, `["a",1]`, `[["zone:west"]]`, `true`} {
		if _, err := Parse(unsigned(header1, user+`,"aud":`+bad+`}`) + "."); ReasonOf(err) != Malformed {
			t.Errorf("aud %s in a user token: %v", bad, err)
		}
		for _, other := range []string{`{"Zone":"west","Scope":["egress"]`, `{"Mesh":"default","Name":"dp"`, `{"Zone":"west","TokenSerialNumber":1`} {
			if token, err := Parse(unsigned(header1, other+`,"aud":`+bad+`}`) + "."); err != nil || token.Claims.Audience != nil {
				t.Errorf("aud %s in %s: %v", bad, other, err)
			}
		}
	}
}

// TestTheHintNamesTheZone: who shows a zone's token to the global is told how to reach that
// zone, and names that a shell would read are not repeated.
func TestTheHintNamesTheZone(t *testing.T) {
	for audience, want := range map[string]string{
		`"zone:west"`:               "to ask zone west, name it with --data-dir or --address",
		`["zone:west","zone:east"]`: "to ask a zone, name it with --data-dir or --address",
		`["west"]`:                  "to ask a zone, name it with --data-dir or --address",
		`"zone:$(id)"`:              "to ask a zone, name it with --data-dir or --address",
	} {
		token, err := Parse(unsigned(header1, `{"Name":"ann","Groups":["admin"],"aud":`+audience+`}`) + ".")
		if err != nil {
			t.Fatal(err)
		}
		hint := federation.AsError(token.Claims.CheckAudience("")).Hint
		if !strings.HasPrefix(hint, want) || !strings.HasSuffix(hint, "global generate user-token --name ann") {
			t.Errorf("aud %s: %q, want %q", audience, hint, want)
		}
	}
}
