package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// clusterStatus is what the tool reads of a member's answer about the cluster.
type clusterStatus struct {
	Losses []struct {
		ShownBy, Shown, Had, Began string
	}
	NewerHistories []string
	Members        []struct {
		ID       string
		Diverged bool
	}
}

// zonesWentBack reads the numbers of the zones.
func (l *load) zonesWentBack(numbers string) error {
	for _, text := range strings.Fields(numbers) {
		n, err := strconv.Atoi(text)
		if err != nil {
			return err
		}
		if _, known := l.zones[n]; !known {
			return fmt.Errorf("there is no zone %d", n)
		}
		l.ledger.zoneWentBack(n)
	}
	return nil
}

// confirm waits until every member tells of one loss, which is to be expected, and confirms it.
func (l *load) confirm(ctx context.Context, w io.Writer, most time.Duration) error {
	var last error
	for end := time.Now().Add(most); time.Now().Before(end) && ctx.Err() == nil; pause(ctx, 100*time.Millisecond) {
		var status clusterStatus
		for i := range l.globals {
			status = clusterStatus{}
			if last = l.ask(ctx, i, http.MethodGet, "/v1/cluster", nil, &status, ""); last == nil && len(status.Losses) == 0 {
				last = fmt.Errorf("%s tells of none", l.globals[i].name)
			}
			if last != nil {
				break
			}
			if len(status.Losses) > 1 || len(status.NewerHistories) > 0 {
				return fmt.Errorf("%s tells of %+v, want one loss", l.globals[i].name, status)
			}
		}
		if last != nil {
			continue
		}
		var confirmed struct{ Losses int }
		if last = l.ask(ctx, 0, http.MethodPost, "/v1/cluster/confirm-loss", struct{}{}, &confirmed, ""); last == nil {
			loss := status.Losses[0]
			fmt.Fprintf(w, "the loss was told: %s held %s, the members had %s, and %s began\n", loss.ShownBy, loss.Shown, loss.Had, loss.Began)
			return nil
		}
	}
	return fmt.Errorf("the loss is not told by every member, or cannot be confirmed: %v", last)
}

// alarms are what members warn of once everything was healed and confirmed.
func (l *load) alarms(ctx context.Context) (all []string) {
	for i := range l.globals {
		var status clusterStatus
		err := l.ask(ctx, i, http.MethodGet, "/v1/cluster", nil, &status, "")
		if err != nil {
			all = append(all, err.Error())
		}
		for _, loss := range status.Losses {
			all = append(all, fmt.Sprintf("%s tells of a loss: %+v", l.globals[i].name, loss))
		}
		for _, h := range status.NewerHistories {
			all = append(all, l.globals[i].name+" was shown the history "+h+", which it does not know")
		}
		for _, m := range status.Members {
			if m.Diverged {
				all = append(all, l.globals[i].name+" says that "+m.ID+" has diverged")
			}
		}
	}
	return all
}
