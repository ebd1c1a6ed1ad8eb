package adminapi

import (
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/apitypes"
	"github.com/meridiankds/meridian/internal/net/preauth"
	"github.com/meridiankds/meridian/raftstore"
)

// Keeper saves and restores the state as a whole, and seals its keys anew.
type Keeper interface {
	Save(ctx context.Context, opts raftstore.SaveOptions, out io.Writer) error
	Restore(ctx context.Context, o raftstore.Origin, opts raftstore.RestoreOptions, in io.Reader) (raftstore.Backup, raftstore.Change, error)
	Sealing() raftstore.Sealing
	CanSign() error
	Broken() []cptoken.KeyID
	Reseal(ctx context.Context, o raftstore.Origin) (raftstore.Resealed, error)
	RotateSecret(ctx context.Context, o raftstore.Origin) (generation uint32, err error)
}

const (
	// maxStreams bounds how many backups are sent and taken at a time.
	maxStreams = 2
	// stallTimeout is how long a backup may make no progress at all; each piece of it
	// extends the port's own deadlines, which are for requests that are small.
	stallTimeout = 30 * time.Second
	// applyTimeout is how long the cluster may take for a backup that has arrived.
	applyTimeout = 10 * time.Minute
)

// BackupType is the media type of a backup.
const BackupType = "application/vnd.meridian.snapshot"

// stream takes one of the places for backups, or says that there is none.
func (api *API) stream() (release func(), err error) {
	select {
	case api.streams <- struct{}{}:
		return func() { <-api.streams }, nil
	default:
		busy := federation.Errorf(federation.Unavailable, "%d backups are being sent or taken already", maxStreams).WithReason("busy")
		busy.RetryAfter = 10 * time.Second
		return nil, busy.WithHint("try again when they are done")
	}
}

// getSnapshot streams a backup. An error after its beginning can only be shown by
// what is missing at the end, which every backup ends with.
func (api *API) getSnapshot(a *act, w http.ResponseWriter, r *http.Request) error {
	stale, err := queryBool(r, "stale")
	if err != nil {
		return err
	}
	release, err := api.stream()
	if err != nil {
		return err
	}
	defer release()
	out := &pieces{w: w, control: http.NewResponseController(w)}
	err = api.store.Save(r.Context(), raftstore.SaveOptions{Stale: stale}, out)
	if out.n == 0 {
		return err
	}
	// A line of its own: that it only reads does not make it a request like others.
	attrs := []any{"caller", clip(a.caller.Name), "via", a.caller.Via, "remote", a.caller.Remote, "requestId", a.requestID, "bytes", out.n}
	if err != nil {
		api.log.Warn("a backup was not sent to its end", append(attrs, "error", err)...)
		return federation.Errorf(federation.Unavailable, "the backup was not sent to its end: %w", err)
	}
	api.log.Info("a backup was saved", attrs...)
	return nil
}

// pieces writes an answer for as long as it makes progress.
type pieces struct {
	w       http.ResponseWriter
	control *http.ResponseController
	n       int64
}

// Write implements io.Writer.
func (p *pieces) Write(b []byte) (int, error) {
	if p.n == 0 {
		h := p.w.Header()
		h.Set("Content-Type", BackupType)
		h.Set("Cache-Control", "no-store")
		h.Set("X-Content-Type-Options", "nosniff")
	}
	// A connection without deadlines, as in tests, has no client that stalls.
	_ = p.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	n, err := p.w.Write(b)
	p.n += int64(n)
	return n, err
}

// arriving reads a request's body for as long as it makes progress.
type arriving struct {
	r       io.Reader
	control *http.ResponseController
}

// Read implements io.Reader.
func (a arriving) Read(b []byte) (int, error) {
	_ = a.control.SetReadDeadline(time.Now().Add(stallTimeout))
	return a.r.Read(b)
}

func (api *API) postRestore(a *act, w http.ResponseWriter, r *http.Request) error {
	if err := api.notLeader(); err != nil {
		return err // before the backup is sent here in vain
	}
	opts, err := restoreOptions(r)
	if err != nil {
		return err
	}
	release, err := api.stream()
	if err != nil {
		return err
	}
	defer release()
	preauth.RequestFrom(r.Context()).Stream()
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // the answer comes when all is done
	ctx, cancel := context.WithTimeout(r.Context(), applyTimeout)
	defer cancel()
	o := a.origin("restore", strconv.FormatBool(opts.Force), opts.Cluster, strconv.FormatUint(uint64(opts.Generation), 10))
	backup, change, err := api.store.Restore(ctx, o, opts, arriving{r.Body, control})
	if err != nil {
		return err
	}
	a.note(slog.String("backup", backup.Revision.String()), slog.String("cluster", backup.ClusterID), slog.String("revision", change.Revision.String()))
	done := apitypes.RestoreResult{Backup: BackupJSON(backup), Revision: change.Revision.String(), Replaced: change.Replaced}
	_ = control.SetWriteDeadline(time.Now().Add(stallTimeout))
	return reply(w, http.StatusOK, done)
}

func restoreOptions(r *http.Request) (opts raftstore.RestoreOptions, err error) {
	q := r.URL.Query()
	if opts.Force, err = queryBool(r, "force"); err != nil {
		return opts, err
	}
	opts.Cluster = q.Get("cluster")
	if text := q.Get("clusterSecret"); text != "" {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return opts, federation.InvalidField("clusterSecret", "must be the number of a generation")
		}
		opts.Generation = uint32(n)
	}
	return opts, nil
}

// BackupJSON shows what a backup says about itself.
func BackupJSON(b raftstore.Backup) apitypes.Backup {
	return apitypes.Backup{
		Format: b.Format, Level: b.Level, ClusterID: b.ClusterID, Revision: b.Revision.String(), Time: stamp(b.Time),
		SealKeys: orEmpty(b.SealKeys), Keys: b.Keys, Zones: b.Zones, Meshes: b.Meshes,
		Revocations: b.Revocations, CutOffs: b.CutOffs, SHA256: hex.EncodeToString(b.SHA256), Bytes: b.Bytes, HasMAC: b.HasMAC, ClusterSecret: b.Secret,
	}
}

func (api *API) getSeal(_ *act, w http.ResponseWriter, _ *http.Request) error {
	return reply(w, http.StatusOK, api.sealJSON())
}

func (api *API) sealJSON() apitypes.Seal {
	have := api.store.Sealing()
	j := apitypes.Seal{
		NodeID: api.store.NodeID(), Active: have.Active, First: have.Held[0], Keys: []apitypes.SealKey{},
		CanSign: api.store.CanSign() == nil, CannotOpen: []string{}, ClusterSecret: have.Secret,
	}
	ids := append(slices.Clone(have.Held), have.MissingKeys...)
	for _, id := range ids {
		j.Keys = append(j.Keys, apitypes.SealKey{ID: id, Held: slices.Contains(have.Held, id), Sealed: have.Sealed[id]})
	}
	for _, id := range have.Unopened {
		j.CannotOpen = append(j.CannotOpen, id.String())
	}
	return j
}

func (api *API) postSealRotate(a *act, w http.ResponseWriter, r *http.Request) error {
	if err := api.notLeader(); err != nil {
		return err
	}
	done, err := api.store.Reseal(r.Context(), a.origin("seal-rotate"))
	a.note(slog.String("sealKeyId", done.Under), slog.Int("keys", done.Keys))
	if err != nil {
		return err
	}
	return reply(w, http.StatusOK, apitypes.SealRotation{Under: done.Under, Keys: done.Keys, Dropped: orEmpty(done.Dropped), ClusterSecret: done.Secret})
}

func (api *API) postRotateSecret(a *act, w http.ResponseWriter, r *http.Request) error {
	if err := api.notLeader(); err != nil {
		return err
	}
	generation, err := api.store.RotateSecret(r.Context(), a.origin("rotate-cluster-secret"))
	if err != nil {
		return err
	}
	a.note(slog.Uint64("generation", uint64(generation)))
	return reply(w, http.StatusOK, apitypes.SecretRotation{Generation: generation})
}

// queryBool reads a flag of a query: absent, true or false.
func queryBool(r *http.Request, name string) (bool, error) {
	values, given := r.URL.Query()[name]
	if !given {
		return false, nil
	}
	b, err := strconv.ParseBool(values[0])
	if err != nil || len(values) > 1 {
		return false, federation.InvalidField(name, "must be true or false, once")
	}
	return b, nil
}
