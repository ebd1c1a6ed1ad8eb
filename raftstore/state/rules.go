package state

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// What a snapshot or a backup holds meets the rules that a command would have met. It
// has checksums, but whoever writes a file writes its checksums too.

// checkRecord holds a record by itself against them.
func (rs *restorer) checkRecord(record *storepb.Record) error {
	s := rs.state
	switch r := record.What.(type) {
	case *storepb.Record_Key:
		return s.checkKey(r.Key)
	case *storepb.Record_SealCheck:
		return firstOf(once(s.sealCheck != nil, "the seal check of", r.SealCheck.GetSealed().GetSealKeyId()),
			wholeSeal("the seal check", r.SealCheck.GetSealed()), checkSealCheck(r.SealCheck))
	case *storepb.Record_Secret:
		return wholeSeal("the cluster secret", r.Secret.GetSealed())
	case *storepb.Record_Serial:
		id := listID{cptoken.Kind(r.Serial.Kind), r.Serial.Mesh}
		_, twice := s.serials.Get(id)
		return firstOf(once(twice, "serial of", r.Serial.Kind), s.checkScope(r.Serial.Kind, r.Serial.Mesh))
	case *storepb.Record_Zone:
		z := r.Zone
		_, twice := s.zones.Get(z.Name)
		_, err := s.zoneFrom(&storepb.ApplyZone{Name: z.Name, Auth: z.Auth, RelayMeshes: z.RelayMeshes, RelayMaxValidityS: z.RelayMaxValidityS})
		return firstOf(once(twice, "zone", z.Name), err)
	case *storepb.Record_Mesh:
		_, twice := s.meshes.Get(r.Mesh.Name)
		return firstOf(once(twice, "mesh", r.Mesh.Name), s.validName("mesh", r.Mesh.Name))
	case *storepb.Record_CutOff:
		c := r.CutOff
		id, err := s.cutOffID(c.Id, false)
		_, twice := s.cutOffs.Get(id)
		return firstOf(err, once(twice, "cut-off of", c.Id.GetKid()), s.checkCutOffTime(c.BeforeS), s.checkMade(c.Index, c.By, c.Reason))
	case *storepb.Record_Revocations:
		v := r.Revocations
		err := firstOf(s.checkList(v.Kind, v.Mesh), s.checkMade(v.Index, v.By, v.Reason))
		for _, id := range v.Ids {
			err = firstOf(err, validateRevoked(id))
		}
		return err
	case *storepb.Record_Tombstone:
		return s.checkTombstone(r.Tombstone)
	case *storepb.Record_Expelled:
		if e := r.Expelled; !validExpelledID(e.Id) || len(e.Subject) > maxExpelledText || len(e.Reason) > maxExpelledText || len(e.By) > maxBy {
			return fmt.Errorf("who is expelled as %.80q: not as a command could have had it", e.Id)
		}
		return once(s.IsExpelled(r.Expelled.Id), "who is expelled as", r.Expelled.Id)
	case *storepb.Record_Request:
		id := r.Request.Id
		if id == "" || len(id) > maxRequestID || r.Request.Result.GetIndex() > s.applied {
			return fmt.Errorf("request %.80q: not one that a command could have had", id)
		}
		_, twice := s.requests.Get(id)
		return once(twice, "request", id)
	}
	return nil
}

// wholeSeal refuses a seal of which a part is missing.
func wholeSeal(what string, s *storepb.Sealed) error {
	if s.GetSealKeyId() == "" || len(s.GetNonce()) == 0 || len(s.GetCiphertext()) == 0 {
		return fmt.Errorf("%s has no sealed material", what)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func once(twice bool, what, name string) error {
	if twice {
		return fmt.Errorf("%s %.80q appears twice", what, name)
	}
	return nil
}

func (s *State) checkScope(kind, mesh string) error {
	_, err := s.Scope(kind, mesh, false)
	return err
}

// checkList is checkScope for what has a list of revoked ids.
func (s *State) checkList(kind, mesh string) error {
	if certificates == (listID{cptoken.Kind(kind), mesh}) {
		return nil
	}
	return s.checkScope(kind, mesh)
}

// checkMade checks what every change carries.
func (s *State) checkMade(index uint64, by, reason string) error {
	switch {
	case index == 0 || index > s.applied:
		return fmt.Errorf("index %d is not one up to the last, %d", index, s.applied)
	case len(by) > maxBy || len(reason) > federation.MaxReason:
		return fmt.Errorf("an author or a reason is longer than any command may have")
	}
	return nil
}

func (s *State) checkKey(r *storepb.KeyRecord) error {
	id := keyID(r.Id)
	_, twice := s.keys.Get(id)
	if err := firstOf(once(twice, "key", KeyName(id)), s.checkScope(r.Id.GetKind(), r.Id.GetMesh()), s.checkMade(r.Index, r.By, "")); err != nil {
		return err
	}
	highest, _ := s.serials.Get(listID{id.Kind, id.Mesh})
	registered := r.Registered != nil
	switch {
	case r.PreparedIndex == 0 || r.PreparedIndex > r.Index || r.RetiringIndex > r.Index:
		return fmt.Errorf("key %s: its indexes are not in order", KeyName(id))
	case registered != (r.Sealed == nil) || registered != (r.Serial == 0) || registered && r.Imported:
		return fmt.Errorf("key %s: it is neither a signing key nor a registered public key", KeyName(id))
	case registered && (r.State != string(cptoken.Retiring) || id.Kind != cptoken.Zone && id.Kind != cptoken.Dataplane):
		return fmt.Errorf("key %s: a registered key of %ss cannot be %.20s", KeyName(id), id.Kind.TokenName(), r.State)
	case registered:
		return cptoken.ValidateKID("kid", id.KID)
	case id.KID != cptoken.SerialKID(r.Serial) || r.Serial > highest:
		return fmt.Errorf("key %s: serial %d is not its own, or above the highest, %d", KeyName(id), r.Serial, highest)
	case proto.Size(r.Sealed) > maxSealed || wholeSeal("", r.Sealed) != nil:
		return fmt.Errorf("key %s: it has no sealed material", KeyName(id))
	case r.State == string(cptoken.Active) && s.Active(id.Kind, id.Mesh) != nil:
		return fmt.Errorf("key %s: another key of its kind and mesh signs too", KeyName(id))
	}
	return nil
}

func (s *State) checkTombstone(t *storepb.Tombstone) error {
	if err := s.checkMade(t.Index, "", ""); err != nil {
		return err
	}
	switch {
	case t.RemovedKey != nil:
		return s.checkScope(t.RemovedKey.Kind, t.RemovedKey.Mesh)
	case t.CutOff != nil:
		_, err := s.cutOffID(t.CutOff, false)
		return err
	}
	return firstOf(s.checkList(t.Kind, t.Mesh), validateRevoked(&storepb.RevokedID{Id: t.Id, ExpiresS: t.ExpiresS}))
}

// checkWhole holds the records against each other, once all are read.
func (s *State) checkWhole() error {
	if !s.Founded() {
		return nil
	}
	if _, err := ParseHistory(&storepb.History{Id: s.history.ID, CreatedMs: s.history.Created}); err != nil {
		return err
	}
	switch {
	case s.sealCheck == nil:
		return fmt.Errorf("snapshot has no seal check")
	case len(s.cluster) > 64 || s.level < FirstLevel:
		return fmt.Errorf("cluster %.64q of feature level %d cannot be", s.cluster, s.level)
	case s.revision > s.applied || s.began > s.applied || s.floor > s.applied:
		return fmt.Errorf("indexes lie behind the last one, %d", s.applied)
	case s.watermark > s.time:
		return fmt.Errorf("what expired up to %s was pruned, and the last change was at %s", millis(s.watermark), millis(s.time))
	case s.level < LevelSecret && len(s.secrets) > 0:
		return fmt.Errorf("a cluster secret at feature level %d", s.level)
	}
	for _, k := range s.keys.All() {
		if _, ok := s.meshes.Get(k.ID.Mesh); perMesh(k.ID.Kind) && !ok {
			return fmt.Errorf("key %s: there is no such mesh", KeyName(k.ID))
		}
	}
	return s.checkListed()
}

// checkCutOffTime checks a time before which tokens are refused.
func (s *State) checkCutOffTime(before int64) error {
	switch {
	case before <= 0:
		return federation.InvalidField("before", "must be a time after 1970")
	case before > maxTime || before*1000 > s.time+maxSkew.Milliseconds():
		return federation.InvalidField("before", "must not lie in the future")
	}
	return nil
}

// zoneFrom returns the zone that a command describes.
func (s *State) zoneFrom(op *storepb.ApplyZone) (*federation.Zone, error) {
	if err := s.validName("name", op.Name); err != nil {
		return nil, err
	}
	next := &federation.Zone{
		Name: op.Name, Enabled: op.Enabled,
		Relay: federation.RelayPolicy{Meshes: op.RelayMeshes, MaxValidity: time.Duration(op.RelayMaxValidityS) * time.Second},
	}
	if op.Auth != "" {
		if authModes[op.Auth] == 0 {
			return nil, federation.InvalidField("auth", "%.40q is not a mode of authentication", op.Auth)
		}
		next.Auth = federation.AuthMode(op.Auth)
	}
	if len(op.RelayMeshes) > federation.MaxRelayMeshes {
		return nil, federation.InvalidField("relay.meshes", "must name at most %d meshes", federation.MaxRelayMeshes)
	}
	for i, mesh := range op.RelayMeshes {
		if err := s.validName(fmt.Sprintf("relay.meshes[%d]", i), mesh); err != nil {
			return nil, err
		}
	}
	const longest = int64(100 * 366 * 24 * 3600)
	if op.RelayMaxValidityS < 0 || op.RelayMaxValidityS > longest {
		return nil, federation.InvalidField("relay.maxValidity", "must be between 0 and 100 years")
	}
	return next, nil
}
