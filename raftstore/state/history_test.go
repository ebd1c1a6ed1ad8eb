package state

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/raftstore/storepb"
)

// anything draws commands of every kind, most of them with a chance to be refused, and makes
// them to a state.
type anything struct {
	*core
	rt      *rapid.T
	n       int
	backups [][]byte
}

func foundedAt(t testing.TB, rt *rapid.T, cluster string, level uint32) *anything {
	a := &anything{core: &core{t: t, s: NewState(), index: 2, now: testTime}, rt: rt}
	cmd := foundingCommand()
	cmd.GetFound().ClusterId, cmd.Level = cluster, level
	a.raw(cmd)
	return a
}

// raw applies a command at the level that it says.
func (a *anything) raw(cmd *storepb.Command) {
	cmd.TimeMs = a.now
	data, err := EncodeCommand(cmd)
	if err != nil {
		a.rt.Fatal(err)
	}
	a.index++
	if _, err := a.s.Apply(a.index, data); err != nil {
		a.rt.Fatal(err)
	}
}

func (a *anything) history() *storepb.History {
	a.n++
	return &storepb.History{Id: historyID(byte(rapid.IntRange(1, 250).Draw(a.rt, "history"))), CreatedMs: a.s.history.Created + rapid.Int64Range(-1, 9).Draw(a.rt, "newer")}
}

func (a *anything) pick(of ...string) string { return rapid.SampledFrom(of).Draw(a.rt, "pick") }

func (a *anything) sealed() *storepb.Sealed {
	s := fakeSealed()
	s.SealKeyId = a.pick(a.s.SealKeyID(), a.s.SealKeyID(), "11111111")
	return s
}

func (a *anything) key(kind cptoken.Kind, mesh string) *storepb.PrepareKey {
	p := preparing(kind, mesh, a.s.NextSerial(kind, mesh)+rapid.Uint64Range(0, 3).Draw(a.rt, "serial")-1)
	p.Sealed, p.Imported = a.sealed(), rapid.Bool().Draw(a.rt, "imported")
	return p
}

// draw makes one command.
func (a *anything) draw() {
	a.now += rapid.Int64Range(-3600_000, 2*24*3600*1000).Draw(a.rt, "later")
	kind := rapid.SampledFrom(propKinds).Draw(a.rt, "kind")
	mesh := ""
	if kind.PerMesh() {
		mesh = a.pick("default", "shop", "new")
	}
	ids := rapid.SliceOfN(rapid.SampledFrom(propIDs[:12]), 1, 6).Draw(a.rt, "ids")
	expires := rapid.SampledFrom([]int64{0, a.now/1000 + 60, a.now/1000 - 9*24*3600}).Draw(a.rt, "expires")
	kid := a.pick("1", "2", "3", "101", "ci", "ci-2")
	step := &storepb.KeyStep{Kind: string(kind), Mesh: mesh, Kid: kid, Force: rapid.Bool().Draw(a.rt, "force")}
	ref := &storepb.KeyRef{Kind: string(kind), Mesh: mesh, Kid: a.pick("", kid)}
	stage := a.pick("s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9")
	node := a.pick("n1", "n2", "sha256:"+fmt.Sprintf("%064d", 1), "sha256:"+fmt.Sprintf("%064d", 2))
	revoke := cmdRevoke(kind, mesh, expires, ids...).GetRevoke()
	commands := []func() *storepb.Command{
		func() *storepb.Command { return cmdRevoke(kind, mesh, expires, ids...) },
		func() *storepb.Command { return cmdWithdraw(kind, mesh, ids...) },
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_PrepareKey{PrepareKey: a.key(kind, mesh)}}
		},
		func() *storepb.Command { return cmdActivate(step) },
		func() *storepb.Command { return &storepb.Command{Op: &storepb.Command_RetireKey{RetireKey: step}} },
		func() *storepb.Command { return &storepb.Command{Op: &storepb.Command_RemoveKey{RemoveKey: step}} },
		func() *storepb.Command { return &storepb.Command{Op: &storepb.Command_BlockKey{BlockKey: step}} },
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_RegisterKey{RegisterKey: &storepb.RegisterKey{
				Id: &storepb.KeyRef{Kind: string(kind), Mesh: mesh, Kid: a.pick("ci", "ci-2", "7")}, Alg: cptoken.AlgRS256, PublicDer: testDER(),
				Constraints: &storepb.Constraints{MaxLifetimeS: int64(len(ids))}, Replace: rapid.Bool().Draw(a.rt, "replace"),
			}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_SetCutOff{SetCutOff: &storepb.SetCutOff{Id: ref, BeforeS: a.now/1000 - int64(len(ids))*3600, Reason: "why"}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_WithdrawCutOff{WithdrawCutOff: &storepb.WithdrawCutOff{Id: ref}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_ApplyZone{ApplyZone: &storepb.ApplyZone{Name: a.pick("west", "east"), Enabled: true, Auth: a.pick("", "token"), RelayMeshes: []string{"shop"}}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_SeeZone{SeeZone: &storepb.SeeZone{Name: a.pick("west", "east")}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_DeleteZone{DeleteZone: &storepb.DeleteZone{Name: a.pick("west", "east")}}}
		},
		func() *storepb.Command {
			name := a.pick("shop", "new")
			return &storepb.Command{Op: &storepb.Command_ApplyMesh{ApplyMesh: &storepb.ApplyMesh{Name: name, Key: a.key(cptoken.Dataplane, name)}}}
		},
		func() *storepb.Command { return cmdDeleteMesh(a.pick("default", "shop", "new")) },
		func() *storepb.Command {
			return cmdPrune(a.now - rapid.Int64Range(-1, 24*3600*1000).Draw(a.rt, "prune"))
		},
		func() *storepb.Command {
			part := &storepb.StagePart{StageId: stage, Revoke: revoke}
			if old, ok := a.s.stages.Get(stage); ok {
				part.Part = uint32(len(old.Parts))
			}
			return &storepb.Command{Op: &storepb.Command_StagePart{StagePart: part}}
		},
		func() *storepb.Command {
			old, _ := a.s.stages.Get(stage)
			return &storepb.Command{Op: &storepb.Command_CommitStage{CommitStage: &storepb.CommitStage{StageId: stage, Parts: uint32(len(old.GetParts())), Digest: StageDigest(old.GetParts())}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_DropStage{DropStage: &storepb.DropStage{StageId: stage}}}
		},
		func() *storepb.Command {
			r := &storepb.Reseal{}
			for _, k := range a.s.keys.All() {
				if k.sealed != nil {
					r.Items = append(r.Items, &storepb.Reseal_Item{Id: KeyRef(k.ID), Sealed: a.sealed()})
				}
			}
			if rapid.Bool().Draw(a.rt, "check") {
				r.SealCheck = &storepb.SealCheck{Sealed: a.sealed()}
			}
			return &storepb.Command{Op: &storepb.Command_Reseal{Reseal: r}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_AddSecret{AddSecret: &storepb.ClusterSecret{Generation: a.s.NextSecret(), Sealed: a.sealed()}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_Expel{Expel: &storepb.Expel{Id: node, Reason: "stolen"}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_Readmit{Readmit: &storepb.Readmit{Id: node}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_SetLevel{SetLevel: &storepb.SetLevel{Level: uint32(rapid.IntRange(1, Level).Draw(a.rt, "level"))}}}
		},
		func() *storepb.Command {
			return &storepb.Command{Op: &storepb.Command_BeginHistory{BeginHistory: &storepb.BeginHistory{History: a.history()}}}
		},
		func() *storepb.Command {
			p := a.s.Position(1)
			if p == nil {
				return cmdPrune(a.now)
			}
			p.Lineage = bytes.Repeat([]byte{7}, 8)
			return cmdProve(p, byte(rapid.IntRange(1, 250).Draw(a.rt, "history")), a.s.history.Created+1)
		},
		func() *storepb.Command {
			c := &storepb.ConfirmLoss{}
			if rapid.Bool().Draw(a.rt, "adopt") {
				c.Adopt = a.history()
			}
			return &storepb.Command{Op: &storepb.Command_ConfirmLoss{ConfirmLoss: c}}
		},
	}
	if rapid.IntRange(0, 14).Draw(a.rt, "whole") == 0 {
		a.whole()
		return
	}
	cmd := rapid.SampledFrom(commands).Draw(a.rt, "command")()
	cmd.By, cmd.RequestId = "ann", a.pick("", "", "r1", "r2")
	var err error
	if cmd.Level, err = needs(cmd.ProtoReflect()); err != nil {
		a.rt.Fatal(err)
	}
	a.raw(proto.CloneOf(cmd))
}

// whole saves or restores a backup, or recovers from a lost majority.
func (a *anything) whole() {
	switch n := rapid.IntRange(0, 4).Draw(a.rt, "of"); {
	case n == 0:
		if next, err := a.s.Recovered(a.history(), nil); err == nil {
			a.s = next
		}
	case n < 3 || len(a.backups) == 0:
		var b bytes.Buffer
		if err := a.s.WriteBackup(&b, func([]byte) []byte { return nil }); err != nil {
			a.rt.Fatal(err)
		}
		a.backups = append(a.backups, b.Bytes())
	default:
		data := rapid.SampledFrom(a.backups).Draw(a.rt, "backup")
		a.raw(&storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: &storepb.RestorePart{RestoreId: "r", Data: data[:len(data)/2]}}})
		a.raw(&storepb.Command{Op: &storepb.Command_RestorePart{RestorePart: &storepb.RestorePart{RestoreId: "r", Part: 1, Data: data[len(data)/2:]}}})
		if n == 3 {
			return // left behind
		}
		a.raw(&storepb.Command{RequestId: a.pick("", "r3"), Op: &storepb.Command_CommitRestore{CommitRestore: &storepb.CommitRestore{
			RestoreId: "r", Parts: 2, Sha256: sha256Of(data), Force: true, History: &storepb.History{Id: historyID(byte(a.index)), CreatedMs: testTime + 1_000_000 + int64(a.index)},
		}}})
	}
}

// TestWhatCommandsLeadToIsTaken: no history of commands, restores and recoveries leads to a
// snapshot that the rules refuse, on any feature level, and the state goes on from there.
func TestWhatCommandsLeadToIsTaken(t *testing.T) {
	testDER()
	rapid.Check(t, func(rt *rapid.T) {
		level := func() uint32 { return uint32(rapid.IntRange(1, Level).Draw(rt, "founded at")) }
		other := foundedAt(t, rt, "other", level())
		for range rapid.IntRange(0, 25).Draw(rt, "of another") {
			other.draw()
		}
		other.backups = nil
		for len(other.backups) == 0 {
			other.whole()
		}
		a := foundedAt(t, rt, "cluster", level())
		a.backups = other.backups
		for range rapid.IntRange(1, 60).Draw(rt, "changes") {
			a.draw()
			if rapid.IntRange(0, 4).Draw(rt, "restart") == 0 {
				a.s = reread(rt, a.s)
			}
		}
		reread(rt, a.s)
	})
}
