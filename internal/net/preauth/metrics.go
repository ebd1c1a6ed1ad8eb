package preauth

import "github.com/meridiankds/meridian/internal/metrics"

// Measure adds the figures of the budget to what a process shows. They are read at each
// scrape, by port where they belong to one.
func (b *Budget) Measure(m *metrics.Set) {
	port := []string{"port"}
	of := func(read func(Counts) float64) func() []metrics.Sample {
		return func() (samples []metrics.Sample) {
			for name, c := range b.Stats() {
				samples = append(samples, metrics.Sample{Labels: []string{name}, Value: read(c)})
			}
			return samples
		}
	}
	m.Gauge("unauthenticated_connections", "Connections whose callers have not proved who they are.", port, of(func(c Counts) float64 { return float64(c.Connections) }))
	m.Gauge("unauthenticated_bytes", "What these occupy, as it is charged.", port, of(func(c Counts) float64 { return float64(c.Bytes) }))
	m.Gauge("unauthenticated_bytes_limit", "What they may occupy together.", nil, func() []metrics.Sample { return metrics.One(b.cfg.Bytes) })
	m.Total("unauthenticated_evicted_total", "Connections and requests that gave their place to others.", port, of(func(c Counts) float64 { return float64(c.Evicted) }))
	m.Total("unauthenticated_refused_total", "Connections closed at once, of addresses that held much.", port, of(func(c Counts) float64 { return float64(c.Refused) }))
	m.Total("unauthenticated_late_total", "Connections closed because nobody proved who they are in time.", port, of(func(c Counts) float64 { return float64(c.Late) }))
	m.Total("unauthenticated_waits_total", "Connections that had to wait in the accept queue.", port, of(func(c Counts) float64 { return float64(c.Waits) }))
	m.Gauge("authenticated_connections", "Connections whose callers have proved who they are.", nil, func() []metrics.Sample { return metrics.One(b.Totals().Authenticated) })
	m.Total("unauthenticated_turns_total", "Handshakes and reads that waited for the processor.", nil, func() []metrics.Sample { return metrics.One(b.Totals().TurnWaits) })
	m.Total("parsing_waits_total", "Requests that waited for their turn to be parsed.", nil, func() []metrics.Sample { return metrics.One(b.Totals().ParsingWaits) })
	m.Total("over_quota_total", "What authenticated callers were refused because they hold as much as they may.", nil, func() []metrics.Sample { return metrics.One(b.Totals().OverQuota) })
}
