package loss

import (
	"context"
	"slices"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/raftstore"
	"github.com/meridiankds/meridian/raftstore/state"
)

var byCluster = raftstore.Origin{By: "cluster"}

// replaceKeys blocks each signing key that a zone knows as removed, and makes and activates
// another one. It takes the steps that are possible now; the next look goes on.
func (w *Watch) replaceKeys(ctx context.Context) {
	if w.cfg.Store.FeatureLevel() < state.LevelLineage {
		return
	}
	for _, k := range w.knownRemoved() {
		if err := w.replaceKey(ctx, k); err != nil && ctx.Err() == nil {
			w.say(k.ID, "error", err)
		}
	}
}

// knownRemoved are the signing keys that a zone refuses as removed, as it said itself, and
// those that are blocked for it. One that was made in the present history cannot have been
// removed in a former one: a zone that says so has its reasons, and moves nobody.
func (w *Watch) knownRemoved() (keys []raftstore.Key) {
	named := map[string]bool{}
	for _, s := range w.cfg.Fleet.Sessions() {
		if s.Authenticated && s.Open() {
			for _, name := range s.Lacking() {
				named[name] = true
			}
		}
	}
	began := w.cfg.Store.HistoryBegan()
	for _, k := range w.cfg.Store.Keys() {
		signs := k.State == cptoken.Active || k.State == cptoken.Prepared
		if k.Serial != 0 && signs && k.PreparedIndex < began && (k.Blocked || named[cptoken.KnownRemoved(k.ID)]) {
			keys = append(keys, k)
		}
	}
	return keys
}

func (w *Watch) replaceKey(ctx context.Context, k raftstore.Key) error {
	store := w.cfg.Store
	if k.State == cptoken.Prepared {
		w.say(k.ID)
		_, err := store.RemoveKey(ctx, byCluster, k.ID, raftstore.RemoveOptions{})
		return err
	}
	if !k.Blocked {
		w.say(k.ID)
		if _, err := store.BlockKey(ctx, byCluster, k.ID); err != nil {
			return err
		}
	}
	next := slices.IndexFunc(store.Keys(), func(n raftstore.Key) bool {
		return n.ID.Kind == k.ID.Kind && n.ID.Mesh == k.ID.Mesh && n.State == cptoken.Prepared
	})
	if next < 0 {
		_, err := store.PrepareKey(ctx, byCluster, k.ID.Kind, k.ID.Mesh)
		return err // its gate is for the next look
	}
	prepared := store.Keys()[next]
	_, head := store.Head()
	need := federation.Revision{History: head.History, Index: prepared.PreparedIndex}
	if !w.cfg.Fleet.Gate(need, w.cfg.Members(), prepared.ID).Open {
		return nil
	}
	_, err := store.ActivateKey(ctx, byCluster, prepared.ID)
	if err == nil {
		w.cfg.Logger.Warn("a signing key that a zone knows as removed was replaced", "key", k.ID.String(), "by", prepared.ID.String())
	}
	return err
}

// say tells once of a key that is replaced, and of each thing that hinders it.
func (w *Watch) say(id cptoken.KeyID, attrs ...any) {
	topic := id.String()
	if len(attrs) > 0 {
		topic += " hindered"
	}
	w.mu.Lock()
	said := w.said[topic]
	w.said[topic] = true
	w.mu.Unlock()
	if !said {
		w.cfg.Logger.Error("a zone knows a signing key as removed: nothing is signed with it any more, and it is replaced",
			append([]any{"key", id.String(), "hint", "a backup or a rolled-back disk brought it back: see global keys list, and remove it"}, attrs...)...)
	}
}
