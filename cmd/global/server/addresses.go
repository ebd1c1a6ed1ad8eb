package server

import (
	"github.com/urfave/cli/v2"

	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// checkAddresses looks at where a node is told to listen, before anything is
// opened.
func checkAddresses(c *cli.Context) error {
	for _, port := range [...]struct {
		flag     string
		required bool
	}{
		{"api-addr", false}, {"api-tls-addr", false}, {"kds-addr", true}, {"peer-addr", true}, {"diagnostics-addr", false},
	} {
		address := c.String(port.flag)
		if address == "" && !port.required {
			continue
		}
		if err := endpoints.CheckListen("--"+port.flag, address); err != nil {
			return console.Usage(err)
		}
	}
	if address := c.String("advertise"); address != "" {
		return console.Usage(endpoints.CheckDial("--advertise", address))
	}
	return nil
}

// badTLS adds which flags the files came from, where an error does not say.
func badTLS(err error) error {
	return console.Advise(err, "name PEM files that this user may read with --tls-cert-file, --tls-key-file and --ca-file")
}
