package state

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// What a snapshot or a backup holds meets the rules that a command would have met. It
// has checksums, but whoever writes a file writes its checksums too.

// checkRecord holds a record against them, and against the records before it, which come
// in the order in which a snapshot is written.
func (rs *restorer) checkRecord(record *storepb.Record) error {
	s := rs.state
	switch r := record.What.(type) {
	case *storepb.Record_Key:
		return s.checkKey(r.Key)
	case *storepb.Record_SealCheck:
		return firstOf(once(s.sealCheck != nil, "the seal check of", r.SealCheck.GetSealed().GetSealKeyId()),
			wholeSeal("the seal check", r.SealCheck.GetSealed()), checkSealCheck(r.SealCheck), checkFormer(r.SealCheck))
	case *storepb.Record_Secret:
		return firstOf(wholeSeal("the cluster secret", r.Secret.GetSealed()), checkSecret(r.Secret))
	case *storepb.Record_Serial:
		id := listID{cptoken.Kind(r.Serial.Kind), r.Serial.Mesh}
		_, twice := s.serials.Get(id)
		return firstOf(once(twice, "serial of", r.Serial.Kind), s.checkScope(r.Serial.Kind, r.Serial.Mesh),
			unless(r.Serial.Highest > 0, "no serial of %ss was used", id.kind.TokenName()))
	case *storepb.Record_Zone:
		z := r.Zone
		_, twice := s.zones.Get(z.Name)
		_, err := s.zoneFrom(&storepb.ApplyZone{Name: z.Name, Auth: z.Auth, RelayMeshes: z.RelayMeshes, RelayMaxValidityS: z.RelayMaxValidityS})
		return firstOf(once(twice, "zone", z.Name), err, s.checkTimes("zone "+z.Name, z.CreatedMs, z.ModifiedMs), s.checkTimes("zone "+z.Name, z.FirstSeenMs))
	case *storepb.Record_Mesh:
		_, twice := s.meshes.Get(r.Mesh.Name)
		return firstOf(once(twice, "mesh", r.Mesh.Name), s.validName("mesh", r.Mesh.Name), s.checkTimes("mesh "+r.Mesh.Name, r.Mesh.CreatedMs, r.Mesh.ModifiedMs))
	case *storepb.Record_CutOff:
		c := r.CutOff
		id, err := s.cutOffID(c.Id, false)
		_, twice := s.cutOffs.Get(id)
		return firstOf(err, once(twice || rs.withdrawn[id], "cut-off of", c.Id.GetKid()), s.checkMesh(id.Kind, id.Mesh), s.checkCutOffTime(c.BeforeS),
			s.checkMade(c.Index, c.By, c.Reason), s.checkTimes("a cut-off", c.AtMs))
	case *storepb.Record_Revocations:
		return rs.checkRevocations(r.Revocations)
	case *storepb.Record_Tombstone:
		return rs.checkTombstone(r.Tombstone)
	case *storepb.Record_Expelled:
		e := r.Expelled
		if !validExpelledID(e.Id) || len(e.Subject) > maxExpelledText || len(e.Reason) > maxExpelledText || len(e.By) > maxBy {
			return fmt.Errorf("who is expelled as %.80q: not as a command could have had it", e.Id)
		}
		return firstOf(once(s.IsExpelled(e.Id), "who is expelled as", e.Id), s.checkTimes("who is expelled", e.AtMs))
	case *storepb.Record_Request:
		return s.checkRequest(r.Request)
	case *storepb.Record_Stage:
		return s.checkStaged(r.Stage)
	case *storepb.Record_StagedRestore:
		p := r.StagedRestore
		return firstOf(s.checkRestorePart(&storepb.RestorePart{RestoreId: p.Id, Part: uint32(s.staged.parts.Len()), Data: p.Data}),
			unless(s.staged.id == "" || s.staged.begun == p.BegunMs, "the parts of restore %.64q begin at two times", p.Id), s.checkTimes("a restore", p.BegunMs))
	case *storepb.Record_Loss:
		return s.checkLoss(r.Loss)
	}
	return nil
}

func (s *State) checkRequest(r *storepb.Request) error {
	_, twice := s.requests.Get(r.Id)
	res := r.Result
	switch {
	case r.Id == "" || len(r.Id) > maxRequestID || len(r.What) != 0 && len(r.What) != requestDigest:
		return fmt.Errorf("request %.80q: not one that a command could have had", r.Id)
	case res == nil || res.Index == 0 || res.Index > s.applied || res.Code != "" && (s.level < LevelOutcomes || res.Changed > 0):
		return fmt.Errorf("request %.80q: its result is none", r.Id)
	case s.requests.Len() >= maxRequests:
		return fmt.Errorf("more than %d requests are remembered", maxRequests)
	}
	return firstOf(once(twice, "request", r.Id), s.checkTimes("a request", r.AtMs))
}

// checkStaged holds one part of a stage against what staging it would have asked for.
func (s *State) checkStaged(r *storepb.Stage) error {
	old, begun := s.stages.Get(r.Id)
	switch {
	case len(r.Parts) != 1 || r.Parts[0].StageId != r.Id || len(r.By) > maxBy:
		return fmt.Errorf("stage %.64q: not one that a command could have had", r.Id)
	case begun && (old.By != r.By || old.BegunMs != r.BegunMs):
		return fmt.Errorf("stage %.64q has two beginnings", r.Id)
	case !begun && s.stages.Len() >= maxStages:
		return fmt.Errorf("more than %d stages are under way", maxStages)
	}
	return firstOf(checkPart(old, r.Parts[0]), s.checkTimes("a stage", r.BegunMs))
}

func (s *State) checkLoss(l *storepb.Loss) error {
	_, err := ParseHistory(l.GetPosition().GetHistory())
	_, next := ParseHistory(l.GetHistory())
	p, last := l.GetPosition(), int64(0)
	if n := len(s.losses); n > 0 {
		last = s.losses[n-1].AtMs
	}
	switch {
	case p.GetClusterId() == "" || len(p.GetClusterId()) > maxClusterID || len(p.GetLineage()) != len(line{}) || p.GetIndex() == 0:
		return errors.New("a loss that no position proved")
	case l.Index == 0 || l.Index > s.applied || l.Applied > l.Index || len(s.losses) >= maxLosses:
		return fmt.Errorf("a loss began at index %d, behind %d", l.Index, l.Applied)
	}
	return firstOf(err, next, checkShown(p, l.ShownBy), s.checkTimes("a loss", last, l.AtMs))
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

// unless is an error where something does not hold.
func unless(holds bool, format string, args ...any) error {
	if holds {
		return nil
	}
	return fmt.Errorf(format, args...)
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

// checkMesh is checkScope for what only a mesh that was there can have: one that is gone
// leaves its serials.
func (s *State) checkMesh(kind cptoken.Kind, mesh string) error {
	_, there := s.meshes.Get(mesh)
	_, was := s.serials.Get(listID{cptoken.Dataplane, mesh})
	return unless(!perMesh(kind) || there || was, "there never was a mesh %.80q", mesh)
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

// checkTimes checks times that were the state's own, in the order in which they were; 0
// is one that never was.
func (s *State) checkTimes(of string, ms ...int64) error {
	last := int64(0)
	for _, t := range ms {
		if t < 0 || t > s.time || t != 0 && t < last {
			return fmt.Errorf("%.100s: its times are not in order, up to the last change", of)
		}
		last = max(last, t)
	}
	return nil
}

// checkFormer holds the former seal keys against the form in which supersede leaves them.
func checkFormer(c *storepb.SealCheck) error {
	return unless(proto.Equal(withFormer(c, c.FormerIds), c), "the former seal keys are none")
}

func (s *State) checkKey(r *storepb.KeyRecord) error {
	id := keyID(r.Id)
	_, twice := s.keys.Get(id)
	_, removed := s.removed.Get(id)
	if err := firstOf(once(twice || removed, "key", KeyName(id)), s.checkScope(r.Id.GetKind(), r.Id.GetMesh()), s.checkMade(r.Index, r.By, ""),
		s.checkTimes("key "+KeyName(id), r.CreatedMs, r.PreparedMs, r.ActiveMs, r.RetiringMs)); err != nil {
		return err
	}
	highest, _ := s.serials.Get(listID{id.Kind, id.Mesh})
	registered := r.Registered != nil
	switch {
	case r.PreparedIndex == 0 || r.PreparedIndex > r.Index || r.RetiringIndex > r.Index || r.RetiringIndex > 0 && r.RetiringIndex < r.PreparedIndex:
		return fmt.Errorf("key %s: its indexes are not in order", KeyName(id))
	case (r.RetiringIndex > 0) != (r.State == string(cptoken.Retiring)) || r.RetiringIndex == 0 && r.RetiringMs > 0 || r.State == string(cptoken.Prepared) && r.ActiveMs > 0:
		return fmt.Errorf("key %s: it was never %.20s", KeyName(id), r.State)
	case registered != (r.Sealed == nil) || registered != (r.Serial == 0) || registered && r.Imported:
		return fmt.Errorf("key %s: it is neither a signing key nor a registered public key", KeyName(id))
	case (id.Kind == cptoken.ControlPlane) != (len(r.Fingerprint) > 0):
		return fmt.Errorf("key %s: a fingerprint stands for a symmetric key alone", KeyName(id))
	case registered && (r.Blocked || r.ActiveMs > 0):
		return fmt.Errorf("key %s: a registered key signs nothing, and cannot be kept from it", KeyName(id))
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
