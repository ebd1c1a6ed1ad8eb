/*
 * Rotation, acknowledgement and resume, for two members of the global and two
 * zones. README.md says what is checked, what is left out and how to run it.
 *
 * Beside the code: a member's state is a prefix of the log (raftstore), a session
 * and its acknowledgement are kds, reports, leases and gates internal/global/fleet, and
 * what a zone does with a set is keysync.
 *
 * Each guard can be taken out with -D and the name in capitals of an ifdef; the
 * property that it serves must fail then, and scripts/model sees to it.
 */

/* What operators do, at most. Faults are not counted: any number may happen. */
#ifndef CHANGES
#define CHANGES 4
#endif
#ifndef RESTORES
#define RESTORES 1
#endif
#ifndef REVOCATIONS
#define REVOCATIONS 2
#endif
#ifndef ROTATIONS
#define ROTATIONS 1
#endif

/* A key at the global. */
#define NONE 0
#define PREPARED 1
#define ACTIVE 2
#define RETIRING 3
#define REMOVED 4

/* The token at the global, and at a zone: KEPT is a revocation that a zone
   carries over from an older history. */
#define GOOD 0
#define REVOKED 1
#define WITHDRAWN 2
#define KEPT 3

/* A key at a zone: GONE was removed, BLOCKED was removed in an older history. */
#define ABSENT 0
#define HELD 1
#define GONE 2
#define BLOCKED 3

/* What is under way between a member and a zone: nothing, a set, or the zone's
   acknowledgement. FIRST is the first of two parts; it has no effect by itself, so
   that losing the stream behind it is losing it before it. */
#define IDLE 0
#define FIRST 1
#define SET 2
#define ACK 3

#define FREE 2 /* no member: the zone has no session */

/* log[i] is the state after change i; At is the index of a thing's last change. */
typedef Global {
	byte history;
	byte token;
	byte tokenAt;
	byte k1;
	byte k1At;
	byte k2;
	byte k2At
}
Global log[CHANGES + 1];
byte top;

/* Operators. */
byte revoked = 0; /* how often */
byte withdrawnAt = 0;
byte restoredAt = 0;
byte rotated = 0; /* keys prepared */

/* Members. applied is the prefix that a member has. */
byte leader = 0;
byte applied[2];

/* What the leader knows of members. A report counts for a gate when it was made in
   this leadership by a member that had applied what the gate is about; a session
   lacks it if it had not acknowledged it then. The lease ends when a member is
   silent, and begins anew with its next report. */
bool lease[2] = true;
bool reported[2] = false;
typedef Sessions { bool lacks[2] }
Sessions report[2];

/* Zones: what serves proxies. */
typedef Copy {
	byte at;
	byte token;
	byte k1;
	byte k2
}
Copy mem[2];
#ifdef ACKS_BEFORE_DISK
Copy disk[2];
#endif

/* Sessions. */
byte session[2] = FREE;
byte acked[2]; /* as the member knows it */
bool synced[2] = false;
byte stage[2] = IDLE;
byte to[2];

/* What must hold from now on, noted when it was promised. */
byte everAcked[2];
byte owesRevoked[2]; /* the latest index acknowledged at which the token was revoked */
bool owesGone[2];    /* the removal of key 1 was acknowledged */
byte excuse[2];      /* members that a gate named as silent, until this index */
byte zoneExcuse[2];  /* zones on such a member */

byte broken = 0;

/* 1. An acknowledged revocation or removal is never undone at a zone, but by a
   withdrawal that was made later and has reached it. */
#define takenBack(z) (withdrawnAt > owesRevoked[z] && mem[z].at >= withdrawnAt)
#define refusesToken(z) (mem[z].token == REVOKED || mem[z].token == KEPT)
#define undone(z) ((owesRevoked[z] > 0 && !refusesToken(z)) || \
	(owesGone[z] && mem[z].k1 != GONE && mem[z].k1 != BLOCKED))

/* 2. Nothing is signed with a key that a member or an online zone lacks. Who was
   silent when a gate opened is excused until it has caught up, and so is a zone
   that blocks a key which a restored backup brought back: operators are told of
   both. States of different histories are not compared. */
#define online(z) (session[z] != FREE && lease[session[z]] && synced[z])
#define counts(m) (excuse[m] == 0)
#define compared(m, z) (log[applied[m]].history == log[mem[z].at].history)
#define mustHold(m, z) (counts(m) && online(z) && counts(session[z]) && zoneExcuse[z] == 0 && compared(m, z))
#define lacksKey(m, z, key, changed) (log[applied[m]].key == ACTIVE && mem[z].key != HELD && \
	!(mem[z].key == BLOCKED && log[applied[m]].changed < restoredAt))
#define zoneLacks(m, z) (mustHold(m, z) && (lacksKey(m, z, k1, k1At) || lacksKey(m, z, k2, k2At)))
#define memberLacks(m, o) (counts(m) && counts(o) && lease[o] && \
	log[applied[m]].history == log[applied[o]].history && \
	log[applied[m]].k2 == ACTIVE && log[applied[o]].k2 == NONE)

/* 4. Within a history, and over a restore, a zone never goes back behind what it
   acknowledged. */
#define wentBack(z) (mem[z].at < everAcked[z])

/* 5. A zone holds the state of its revision, all of it and nothing else, beside
   what it keeps of an older history. So it refuses no good token because a stream
   or the global is lost, and no change is there in part. */
#define live(k) (k == PREPARED || k == ACTIVE || k == RETIRING)
#define keyFits(k, v) ( \
	(live(k) && (v == HELD || v == BLOCKED)) || \
	(k == NONE && (v == ABSENT || v == BLOCKED)) || \
	(k == REMOVED && (v == GONE || v == BLOCKED)))
#define tokenFits(t, v) ((t == REVOKED && v == REVOKED) || (t != REVOKED && (v == GOOD || v == KEPT)))
#define keepsNothing(z) (mem[z].token != KEPT && mem[z].k1 != BLOCKED && mem[z].k2 != BLOCKED)
#define differs(z) (!(keyFits(log[mem[z].at].k1, mem[z].k1) && keyFits(log[mem[z].at].k2, mem[z].k2) && \
	tokenFits(log[mem[z].at].token, mem[z].token) && \
	(log[mem[z].at].history > 0 || keepsNothing(z))))

/* The monitor can take a step in no state but one in which a property fails; pan
   prints the property's number. */
#define FAILS(n) broken = n; assert(broken != n)

proctype monitor() {
end:
	do
	:: d_step { undone(0) || undone(1) -> FAILS(1) }
	:: d_step { zoneLacks(0, 0) || zoneLacks(0, 1) || zoneLacks(1, 0) || zoneLacks(1, 1) -> FAILS(2) }
	:: d_step { memberLacks(0, 1) || memberLacks(1, 0) -> FAILS(2) }
	:: d_step { wentBack(0) || wentBack(1) -> FAILS(4) }
	:: d_step { differs(0) || differs(1) -> FAILS(5) }
	od
}

/* --- the log --- */

#define mayWrite (top < CHANGES)

/* append begins the next state as a copy of state b. */
inline append(b) {
	log[top + 1].history = log[b].history;
	log[top + 1].token = log[b].token; log[top + 1].tokenAt = log[b].tokenAt;
	log[top + 1].k1 = log[b].k1; log[top + 1].k1At = log[b].k1At;
	log[top + 1].k2 = log[b].k2; log[top + 1].k2At = log[b].k2At;
	top++;
	applied[leader] = top
}

/* --- gates --- */

/* The change that a gate is about at present: members and zones must have a
   prepared key, members a retiring one. 0: there is none. */
#define need (log[top].k2 == PREPARED -> log[top].k2At : (log[top].k1 == RETIRING -> log[top].k1At : 0))

/* forget: no report made so far says anything of the gate that begins. */
inline forget(m) {
	reported[m] = false; report[m].lacks[0] = false; report[m].lacks[1] = false
}

#define covers(i) (log[i].history == log[top].history && i >= need)
#define lacking(m, z) (session[z] == m && !covers(acked[z]))

inline hear(m) {
	lease[m] = true;
	if
	:: need > 0 && applied[m] >= need && log[applied[m]].history == log[top].history ->
		reported[m] = true; report[m].lacks[0] = lacking(m, 0); report[m].lacks[1] = lacking(m, 1)
	:: else
	fi
}

/* Who has not reported is waited for until its lease has ended. */
#define memberPasses(m) (!lease[m] || reported[m])
#ifdef GATE_WITHOUT_MEMBERS
#define membersPass true
#else
#define membersPass (memberPasses(0) && memberPasses(1))
#endif
#ifdef GATE_WITHOUT_ZONES
#define zonesPass true
#else
#define zonePasses(m, z) (!lease[m] || !report[m].lacks[z])
#define zonesPass (zonePasses(0, 0) && zonePasses(0, 1) && zonePasses(1, 0) && zonePasses(1, 1))
#endif

inline excuseSilent() {
	if :: !lease[0] -> excuse[0] = top :: else fi;
	if :: !lease[1] -> excuse[1] = top :: else fi;
	if :: session[0] != FREE && !lease[session[0]] -> zoneExcuse[0] = top :: else fi;
	if :: session[1] != FREE && !lease[session[1]] -> zoneExcuse[1] = top :: else fi
}

/* --- a zone applies a set --- */

/* takeKey: theirs is the global's key, last changed at since. */
inline takeKey(mine, theirs, since) {
	if
	:: whole && mine == GONE -> mine = BLOCKED
	:: else
	fi;
	if
	:: whole && theirs == NONE && mine == HELD -> mine = ABSENT
	:: (whole || since > acked[z]) && theirs == REMOVED && mine != BLOCKED -> mine = GONE
#ifdef FORGETS_REMOVED
	:: (whole || since > acked[z]) && live(theirs) -> mine = HELD
#else
	:: (whole || since > acked[z]) && live(theirs) && mine != BLOCKED -> mine = HELD
#endif
	:: else
	fi
}

/* takeToken: a withdrawal in a full state may be older than the revocation that the
   zone knows, unless it was made since the history began. */
#define explicit (!whole || log[to[z]].tokenAt > restoredAt)
inline takeToken(mine) {
	if
	:: (whole || log[to[z]].tokenAt > acked[z]) && log[to[z]].token == REVOKED -> mine = REVOKED
	:: explicit && log[to[z]].tokenAt > acked[z] && log[to[z]].token == WITHDRAWN -> mine = GOOD
#ifdef FORGETS_REVOKED
	:: whole && log[to[z]].token != REVOKED -> mine = GOOD
#elif defined(BACKUP_WITHDRAWS)
	:: whole && log[to[z]].token == WITHDRAWN -> mine = GOOD
	:: whole && log[to[z]].token == GOOD && mine == REVOKED -> mine = KEPT
#else
	:: !explicit && log[to[z]].token != REVOKED && mine == REVOKED -> mine = KEPT
#endif
	:: else
	fi
}

#ifdef ACKS_BEFORE_DISK
inline save(z) {
	disk[z].at = mem[z].at; disk[z].token = mem[z].token;
	disk[z].k1 = mem[z].k1; disk[z].k2 = mem[z].k2
}

inline load(z) {
	mem[z].at = disk[z].at; mem[z].token = disk[z].token;
	mem[z].k1 = disk[z].k1; mem[z].k2 = disk[z].k2
}
#endif

/* promise notes what the zone says that it holds, whether or not that arrives. */
inline promise(z) {
	if :: mem[z].at > everAcked[z] -> everAcked[z] = mem[z].at :: else fi;
	if :: log[mem[z].at].token == REVOKED -> owesRevoked[z] = mem[z].at :: else fi;
	if :: owesRevoked[z] > 0 && takenBack(z) -> owesRevoked[z] = 0 :: else fi;
	if :: log[mem[z].at].k1 == REMOVED -> owesGone[z] = true :: else fi;
	if :: mem[z].at >= zoneExcuse[z] -> zoneExcuse[z] = 0 :: else fi
}

/* catchUp: a session counts as online once its zone had all that its member had. If
   that was a member which a gate had named, the zone is excused like the member. */
inline catchUp(z) {
	if
	:: session[z] != FREE && stage[z] == IDLE && acked[z] >= applied[session[z]] ->
		synced[z] = true;
		if :: mem[z].at < excuse[session[z]] -> zoneExcuse[z] = excuse[session[z]] :: else fi
	:: else
	fi
}

inline hangUp(z) {
	session[z] = FREE; stage[z] = IDLE; synced[z] = false; acked[z] = 0; to[z] = 0
}

inline connect(z, m) {
	session[z] = m; acked[z] = mem[z].at; promise(z); catchUp(z)
}

#ifdef GOES_BACK
#define hasNews(z) (applied[session[z]] != acked[z])
#else
#define hasNews(z) (applied[session[z]] > acked[z])
#endif

proctype zone(byte z) {
	bool whole;
end:
	do
	:: d_step { session[z] == FREE -> connect(z, 0) }
	:: d_step { session[z] == FREE -> connect(z, 1) }
	:: d_step { session[z] != FREE && stage[z] == IDLE && hasNews(z) ->
		to[z] = applied[session[z]];
#ifdef APPLIES_PARTS
		stage[z] = FIRST
#else
		stage[z] = SET
#endif
		}
#ifdef APPLIES_PARTS
	:: d_step { stage[z] == FIRST ->
		whole = log[acked[z]].history != log[to[z]].history;
		takeKey(mem[z].k1, log[to[z]].k1, log[to[z]].k1At);
		takeKey(mem[z].k2, log[to[z]].k2, log[to[z]].k2At);
		whole = false;
		mem[z].at = to[z]; stage[z] = SET }
#endif
	:: d_step { stage[z] == SET ->
		whole = log[acked[z]].history != log[to[z]].history;
		takeKey(mem[z].k1, log[to[z]].k1, log[to[z]].k1At);
		takeKey(mem[z].k2, log[to[z]].k2, log[to[z]].k2At);
		takeToken(mem[z].token);
		whole = false;
		mem[z].at = to[z]; stage[z] = ACK; promise(z) }
	:: d_step { stage[z] == ACK -> stage[z] = IDLE; acked[z] = to[z]; to[z] = 0; catchUp(z) }
	:: d_step { session[z] != FREE -> /* the stream is lost, or the zone restarts */
		hangUp(z);
#ifdef LOSS_DELETES
		mem[z].k2 = ABSENT;
#endif
		}
#ifdef ACKS_BEFORE_DISK
	:: d_step { disk[z].at != mem[z].at -> save(z) }
	:: d_step { disk[z].at != mem[z].at -> hangUp(z); load(z) }
#endif
	od
}

/* One member; the other one is o. */
proctype member(byte m; byte o) {
end:
	do
	:: d_step { applied[m] < top -> applied[m]++;
		if :: applied[m] >= excuse[m] -> excuse[m] = 0 :: else fi }
	:: d_step { need > 0 -> hear(m) }
	:: d_step { lease[m] && m != leader && need > 0 -> lease[m] = false }
	:: d_step { true -> /* it restarts, and serves once it has caught up; what it knew of others is gone */
		if :: session[0] == m -> hangUp(0) :: else fi;
		if :: session[1] == m -> hangUp(1) :: else fi;
		if :: m == leader -> forget(0); forget(1) :: else fi;
#ifdef SERVES_BEFORE_READY
		if :: m != leader -> applied[m] = 0 :: else fi;
#else
		applied[m] = top; excuse[m] = 0;
#endif
		}
	:: d_step { leader == o -> /* m leads from now on */
		leader = m; applied[m] = top; excuse[m] = 0; forget(0); forget(1); hear(m);
#ifdef UNREPORTED_PASSES
		reported[o] = true;
#endif
		}
	od
}

proctype operators() {
	byte b = 0;
end:
	do
	:: d_step { mayWrite && revoked < REVOCATIONS && log[top].token != REVOKED ->
		append(top); revoked++; log[top].token = REVOKED; log[top].tokenAt = top }
	:: d_step { mayWrite && withdrawnAt == 0 && log[top].token == REVOKED ->
		append(top); withdrawnAt = top; log[top].token = WITHDRAWN; log[top].tokenAt = top }
#ifdef REUSES_SERIALS
	:: d_step { mayWrite && log[top].k2 == NONE && rotated < 2 * ROTATIONS ->
#else
	:: d_step { mayWrite && log[top].k2 == NONE && rotated < ROTATIONS ->
#endif
		append(top); rotated++; log[top].k2 = PREPARED; log[top].k2At = top;
		forget(0); forget(1) }
	:: d_step { mayWrite && log[top].k2 == PREPARED && membersPass && zonesPass ->
		append(top); log[top].k2 = ACTIVE; log[top].k2At = top;
		if :: live(log[top].k1) -> log[top].k1 = RETIRING; log[top].k1At = top :: else fi;
		excuseSilent(); forget(0); forget(1) }
	:: d_step { mayWrite && log[top].k2 == PREPARED -> /* given up */
		append(top); log[top].k2 = REMOVED; log[top].k2At = top; forget(0); forget(1) }
#ifdef REMOVES_UNGATED
	:: d_step { mayWrite && log[top].k1 == RETIRING ->
#else
	:: d_step { mayWrite && log[top].k1 == RETIRING && memberPasses(0) && memberPasses(1) ->
#endif
		append(top); log[top].k1 = REMOVED; log[top].k1At = top;
		excuseSilent(); forget(0); forget(1) }
	:: atomic { mayWrite && restoredAt == 0 && RESTORES > 0 && top > 0 -> /* a backup of any earlier moment */
		do
		:: b + 1 < top -> b++
		:: break
		od;
		d_step {
			append(b); b = 0; restoredAt = top;
#ifndef SAME_HISTORY
			log[top].history = 1;
#endif
			forget(0); forget(1)
		}
	}
	od
}

init {
	atomic {
		log[0].k1 = ACTIVE;
		mem[0].k1 = HELD; mem[1].k1 = HELD;
#ifdef ACKS_BEFORE_DISK
		save(0); save(1);
#endif
		run monitor();
		run operators();
		run member(0, 1); run member(1, 0);
		run zone(0); run zone(1)
	}
}
