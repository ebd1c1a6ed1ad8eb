package disk

import "errors"

// ErrLocked is returned by [Lock] and [LockShared] for a file that another process,
// or another descriptor of this one, has locked.
var ErrLocked = errors.New("locked by another process")
