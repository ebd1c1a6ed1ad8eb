package adminapi

import (
	"io"
	"net/http"
	"testing"

	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/runlog"
)

// TestLogLevel: an administrator sets the level of the member that is asked, also where
// another one leads, and the audit log has it.
func TestLogLevel(t *testing.T) {
	log, err := runlog.New(io.Discard, "text", "info")
	if err != nil {
		t.Fatal(err)
	}
	e := newEnv(t, func(c *Config) {
		c.RunLog = log
		follow(c)
		c.Cluster = &others{}
	})
	var now apitypes.LogLevel
	e.want(http.StatusOK, "GET", "/v1/log-level", nil, &now)
	if now.Level != "info" || now.Configured != "info" || now.Until != nil || now.Node == "" {
		t.Errorf("at the start: %+v", now)
	}
	e.want(http.StatusOK, "POST", "/v1/log-level", apitypes.LogLevelRequest{Level: "debug", For: "10m"}, &now)
	if level, _, until := log.Level.State(); runlog.Name(level) != "debug" || now.Level != "debug" || now.Until == nil || until.IsZero() {
		t.Errorf("after it was set: %+v, %s until %s", now, level, until)
	}
	for field, bad := range map[string]apitypes.LogLevelRequest{
		"for":   {Level: "debug", For: "1ms"},
		"level": {Level: "loud"},
	} {
		if got := e.refused(http.StatusBadRequest, "POST", "/v1/log-level", bad); got.Detail == "" && len(got.InvalidParameters) == 0 {
			t.Errorf("%s: refused without a word: %+v", field, got)
		}
	}
	e.want(http.StatusOK, "POST", "/v1/log-level", apitypes.LogLevelRequest{Level: "configured"}, &now)
	if now.Level != "info" {
		t.Errorf("after a reset: %+v", now)
	}
}
