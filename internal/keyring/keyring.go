package keyring

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meridiankds/meridian/cptoken"
	"github.com/meridiankds/meridian/federation"
	"github.com/meridiankds/meridian/internal/disk"
)

// Source is the copy of the global's keys and revocations that this process holds.
type Source interface {
	// View returns what is known now; the same value while nothing changes.
	View() cptoken.View
	// Changed returns a channel that is closed at the next change of View.
	Changed() <-chan struct{}
}

// reloadEvery is how often a Keyring looks at its files.
const reloadEvery = time.Second

// Config is what [New] needs.
type Config struct {
	Source Source
	// Settings as they are at start, completed.
	Settings Settings
	// Reload reads the settings anew, completed; of these the public keys are taken
	// over and nothing else. nil: they stand in no file.
	Reload func() (Settings, error)
	// Replaced is told that the zone's own keys changed, after View shows it; nil:
	// nobody is. What a removed key had opened ends when somebody looks.
	Replaced func()
	Logger   *slog.Logger // nil: no log
}

// Keyring is every key that verifies tokens in this process: those of the global, and
// those that this process's own settings name. It is safe for concurrent use.
type Keyring struct {
	cfg     Config
	own     atomic.Pointer[ownKeys]
	last    atomic.Pointer[view] // the view that was made last
	follow  *disk.Follower[*ownKeys]
	differs bool // has logged that other settings changed; of follow's looks
}

// New reads the public keys that the settings name. It starts nothing.
func New(cfg Config) (*Keyring, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Replaced == nil {
		cfg.Replaced = func() {}
	}
	k := &Keyring{cfg: cfg}
	var err error
	k.follow, err = disk.Follow(disk.Following[*ownKeys]{
		Read: k.read,
		Same: (*ownKeys).same,
		Use:  k.use,
		Failed: func(err error) {
			cfg.Logger.Warn("new public keys cannot be used, the former stay in use",
				"error", err, "hint", federation.AsError(err).Hint)
		},
	})
	if err != nil {
		return nil, err
	}
	return k, nil
}

// View returns what tokens are held against now. Take it once for each decision.
func (k *Keyring) View() cptoken.View {
	held, own := k.cfg.Source.View(), k.own.Load()
	if own.none() {
		return held
	}
	if v := k.last.Load(); v != nil && v.held == held && v.own == own {
		return v
	}
	v := &view{held, own}
	k.last.Store(v)
	return v
}

// Changed returns a channel that is closed when the global's part of View changes
// next; of the zone's own part Config.Replaced is told.
func (k *Keyring) Changed() <-chan struct{} { return k.cfg.Source.Changed() }

// Own returns the zone's own keys, ordered by kind, mesh and kid.
func (k *Keyring) Own() []*cptoken.PublicKey {
	keys := slices.Collect(maps.Values(k.own.Load().keys))
	slices.SortFunc(keys, func(a, b *cptoken.PublicKey) int {
		return cmp.Or(-cmp.Compare(a.ID.Kind, b.ID.Kind), cmp.Compare(a.ID.Mesh, b.ID.Mesh), cmp.Compare(a.ID.KID, b.ID.KID))
	})
	return keys
}

// Secrets reports whether the global's keys of a kind verify here.
func (k *Keyring) Secrets(kind cptoken.Kind) bool { return !k.own.Load().alone[kind] }

// Run follows the files that public keys stand in until ctx ends. It returns nil.
func (k *Keyring) Run(ctx context.Context) error {
	return k.follow.Run(ctx, reloadEvery)
}

// Check reads the files once and takes over what changed in them, all of it or
// nothing. What cannot be used is logged, once.
func (k *Keyring) Check() { k.follow.Check() }

// read reads the settings, if they may have changed, and the keys that they name.
func (k *Keyring) read() (*ownKeys, error) {
	settings := k.cfg.Settings
	if k.cfg.Reload != nil && k.own.Load() != nil {
		now, err := k.cfg.Reload()
		if err != nil {
			return nil, err
		}
		settings = k.onlyKeys(now)
	}
	return settings.load()
}

func (k *Keyring) use(own *ownKeys) error {
	if k.own.Swap(own) == nil {
		return nil
	}
	k.cfg.Logger.Info("the zone's own public keys were replaced", "keys", kids(k.Own()))
	k.cfg.Replaced()
	return nil
}

// onlyKeys returns the settings at start with the public keys of those now, and
// says once that the rest waits for a restart.
func (k *Keyring) onlyKeys(now Settings) Settings {
	next := k.cfg.Settings
	next.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = now.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys
	next.Authn.DPProxy.DPToken.Validator.PublicKeys = now.Authn.DPProxy.DPToken.Validator.PublicKeys
	differs := !reflect.DeepEqual(next, now)
	if differs && !k.differs {
		k.cfg.Logger.Warn("dpServer was changed beyond its public keys, which takes a restart to take effect")
	}
	k.differs = differs
	return next
}

func kids(keys []*cptoken.PublicKey) []string {
	ids := make([]string, 0, len(keys))
	for _, k := range keys {
		ids = append(ids, k.ID.String())
	}
	return ids
}
