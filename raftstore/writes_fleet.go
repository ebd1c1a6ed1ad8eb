package raftstore

import (
	"context"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// ApplyZone makes or changes a zone; a deleted one is admitted again. Times and
// Deleted of z are not used.
func (s *Store) ApplyZone(ctx context.Context, o Origin, z federation.Zone) (federation.Zone, error) {
	out, err := s.propose(ctx, o, "apply-zone", &storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{
		Name: z.Name, Enabled: z.Enabled, Auth: string(z.Auth), RelayMeshes: z.Relay.Meshes,
		RelayMaxValidityS: int64(z.Relay.MaxValidity / time.Second),
	}}})
	return zoneAt(out, z.Name, err)
}

// DeleteZone leaves a tombstone: the zone is refused until it is applied again.
func (s *Store) DeleteZone(ctx context.Context, o Origin, name string) error {
	_, err := s.propose(ctx, o, "delete-zone", &storepb.Command{Op: &storepb.Command_DeleteZone{DeleteZone: &storepb.DeleteZone{Name: name}}})
	return err
}

// SeeZone records that a zone joined and returns its record, which it makes where
// there is none. It is a Forbidden error where the zone was deleted, and proposes
// nothing where the zone has been seen before.
func (s *Store) SeeZone(ctx context.Context, name string) (federation.Zone, error) {
	if z, ok := s.Zone(name); ok && !z.Deleted && !z.FirstSeen.IsZero() {
		return z, nil
	}
	out, err := s.propose(ctx, Origin{By: "zone " + name}, "see-zone",
		&storepb.Command{Op: &storepb.Command_SeeZone{SeeZone: &storepb.SeeZone{Name: name}}})
	return zoneAt(out, name, err)
}

func zoneAt(out outcome, name string, err error) (federation.Zone, error) {
	if err != nil {
		return federation.Zone{}, err
	}
	z, ok := out.state.Zone(name)
	if !ok {
		return federation.Zone{}, federation.Errorf(federation.Internal, "zone %s is not there", name)
	}
	return z, nil
}

// ApplyMesh makes a mesh where there is none, with a dataplane key that is
// prepared: the caller activates it once every online zone holds it.
func (s *Store) ApplyMesh(ctx context.Context, o Origin, name string) (Mesh, error) {
	if err := federation.ValidateName("name", name); err != nil {
		return Mesh{}, err
	}
	for attempt := 1; ; attempt++ {
		if !s.IsLeader() {
			return Mesh{}, s.notLeader()
		}
		if m, ok := s.Mesh(name); ok {
			return m, nil
		}
		p, err := s.newKey(s.fsm.current(), cptoken.Dataplane, name)
		if err != nil {
			return Mesh{}, err
		}
		out, err := s.propose(ctx, o, "apply-mesh", &storepb.Command{Op: &storepb.Command_ApplyMesh{ApplyMesh: &storepb.ApplyMesh{Name: name, Key: p}}})
		if raced(err) && attempt < serialAttempts {
			continue
		}
		if err != nil {
			return Mesh{}, err
		}
		m, ok := out.state.Mesh(name)
		if !ok {
			return Mesh{}, federation.Errorf(federation.Conflict, "mesh %s was deleted since", name)
		}
		return m, nil
	}
}

// DeleteMesh removes a mesh and all its keys.
func (s *Store) DeleteMesh(ctx context.Context, o Origin, name string) error {
	_, err := s.propose(ctx, o, "delete-mesh", &storepb.Command{Op: &storepb.Command_DeleteMesh{DeleteMesh: &storepb.DeleteMesh{Name: name}}})
	return err
}
