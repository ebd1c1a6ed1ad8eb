// Command faultload loads a cluster of globals and its zones while scripts/test-faults
// breaks the network between them, and keeps the ledger by which the run is judged.
// It has an image of its own, FROM scratch, and plays five roles:
//
//	faultload zones --first 1 --count 5    five zone control planes in one container
//	faultload relay --forward :5685=host:5685   a link that can be slowed and stalled
//	faultload disk keep /data/node         keeps, puts back or empties a data directory
//	faultload load …                       issues, revokes, verifies at every zone
//	faultload ctl WHAT                     tells the load or relay of its container
//
// # The ledger
//
// A token is good from the answer that brought it until its revocation is asked for,
// and revoked from the answer to that; between them either verdict is right. The
// answer names the revision at which the revocation is in force, and a zone names
// its own with every token that it accepts. So a token that is accepted by a zone
// which holds that revision was wrongly accepted, and one that is refused while it is
// good was wrongly refused; the only exception is a key that was prepared after the
// revision which the zone was last seen at, because a zone that is away when a key
// begins to sign cannot know it. Who was away is what the global says that activates
// the key: nobody else has this excuse. A write that was acknowledged is lost if, once all
// faults are healed and everybody had time to catch up, a member does not list it.
//
// # Disks that go back
//
// Of one member nothing is lost, and of a zone what it has after its own word: revisions that
// it names tell what it may accept. Where the disks of all members go back, what was
// acknowledged since they were copied is gone. The tool expects that, and wants the one alarm
// and the one history that begins; a zone that was seen to refuse a token as revoked goes on
// refusing it all the same, and what was acknowledged before is lost by nobody. An alarm at
// the end, or one more history, is not to be explained, and fails the run.
//
// The command is no part of what is delivered: nothing imports it and no binary
// links it.
package main
