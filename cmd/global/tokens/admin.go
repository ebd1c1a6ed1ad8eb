package tokens

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/meridiankds/meridian/cmd/global/client"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apiclient"
	"github.com/meridiankds/meridian/internal/apitypes"
	console "github.com/meridiankds/meridian/internal/cli"
	"github.com/meridiankds/meridian/internal/disk"
	"github.com/meridiankds/meridian/internal/endpoints"
)

// Admin returns the command `global admin-token`.
func Admin() *cli.Command {
	return &cli.Command{
		Name:  "admin-token",
		Usage: "issue an administrator's token on the node itself, without a token",
		Description: `For the first administrator, and for who locked themselves out. It asks the node
through a socket in its data folder, which only the user that the node runs as
can open.

Examples:
  global admin-token --data-dir /var/lib/meridian > admin.token
  global admin-token --name jane --valid-for 8h > jane.token`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data-dir", Usage: "the data `FOLDER` of the node [GLOBAL_DATA_DIR]", DefaultText: client.DevDataDir},
			&cli.StringFlag{Name: "name", Usage: "the `NAME` of the administrator, for the log", Value: "admin"},
			&cli.DurationFlag{Name: "valid-for", Usage: "how `LONG` the token is valid", Value: 24 * time.Hour},
		},
		Action: adminToken,
	}
}

func adminToken(c *cli.Context) error {
	d := c.Duration("valid-for")
	if d <= 0 {
		return console.Usage(federation.InvalidField("--valid-for", "must be more than nothing, is %s", d).
			WithHint("write for example --valid-for 8h, or leave it out for a day"))
	}
	socket, err := adminSocket(c.String("data-dir"), os.Getenv("GLOBAL_DATA_DIR"), client.DevDataDir)
	if err != nil {
		return err
	}
	target, err := apiclient.Socket("global", socket)
	if err != nil {
		return err
	}
	g, err := client.New(c, target)
	if err != nil {
		return err
	}
	request := apitypes.UserTokenRequest{Name: c.String("name"), Groups: []string{"admin"}, ValidFor: d.String()}
	return printToken(c)(g.UserToken(c.Context, request))
}

// adminSocket returns the path of the socket of the node in the first folder
// that is named.
func adminSocket(dirs ...string) (string, error) {
	for dirs[0] == "" {
		dirs = dirs[1:]
	}
	dir := dirs[0]
	path := filepath.Join(dir, "admin.sock")
	if e, err := endpoints.Read(dir); err == nil && e.AdminSocket != "" {
		path = e.AdminSocket
	}
	_, err := os.Stat(path)
	switch whole, _ := filepath.Abs(path); {
	case errors.Is(err, fs.ErrNotExist) && len(whole) > endpoints.MaxSocketPath:
		return "", federation.Errorf(federation.Invalid, "the path of %s is too long for an admin socket: %d characters, and %d are the most", whole, len(whole), endpoints.MaxSocketPath).
			WithHint("start the node with a --data-dir of a shorter path")
	case errors.Is(err, fs.ErrNotExist):
		return "", federation.Errorf(federation.NotFound, "no global runs in %s: %s is not there", dir, path).
			WithHint("name the data folder of a running node with --data-dir")
	case errors.Is(err, fs.ErrPermission):
		return "", federation.Errorf(federation.Forbidden, "%s may not be opened by this user", path).
			WithHint("run the command as %s, as whom the node runs", disk.Owner(dir))
	case err != nil:
		return "", federation.Errorf(federation.Internal, "looking for the admin socket: %w", err)
	}
	return path, nil
}
