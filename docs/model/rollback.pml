/*
 * Disks that are put back to an earlier state, for three members of the global and
 * two zones: who notices, and what zones and members do about it. README.md says
 * what is checked and how to run it.
 *
 * Every change is an entry with its own number, made once behind one other entry.
 * So an entry's number stands for its lineage: who holds entry e at an index has
 * the same past as everybody else who holds e there. A member's log, and a zone's
 * position, is the number of its last entry.
 *
 * Each guard can be taken out with -D and the name in capitals of an ifdef; the
 * property that it serves must fail then, and scripts/model sees to it.
 */

#ifndef CHANGES
#define CHANGES 4
#endif
#ifndef ROLLBACKS
#define ROLLBACKS 1
#endif
#ifndef ELECTIONS
#define ELECTIONS 2
#endif
#ifndef CRASHES /* members that are down without being put back */
#define CRASHES 1
#endif
#ifndef MEMBERS
#define MEMBERS 3
#endif
#ifndef ZONES
#define ZONES 2
#endif

#define NOBODY 3

/* Entries. past[e] has a bit for e and for each entry before it; bit 0 is the empty
   log, which everybody shares. */
typedef Entry {
	byte index;
	byte history;
	byte term;
	short past
}
Entry entry[CHANGES + 1];
byte top;
byte prev[CHANGES + 1];

#define bit(e) (1 << (e))
#define inPast(e, t) ((entry[t].past & bit(e)) != 0)
#define without(a, b) ((a) & ~(b))

/* Members. had is a ghost: what the member applied since its disk was last right. */
byte tip[MEMBERS];
byte term[MEMBERS];
bool up[MEMBERS] = true;
bool barred[MEMBERS] = false; /* stopped: an operator empties its directory */
short had[MEMBERS] = 1;
byte leader = NOBODY;

/* What a member remembers durably of the others' reports. */
typedef Memory { byte last[MEMBERS] }
Memory seen[MEMBERS];

/* Zones: the position, and the revocations that are refused. */
byte at[ZONES];
short refuses[ZONES] = 1;
short owes[ZONES] = 1; /* what was acknowledged */
bool answered[ZONES] = false;

/* Proofs of loss that wait to be applied: the positions of zones, and one of a member. */
byte proof[ZONES + 1];

short acknowledged = 1; /* every entry that an operator was told is done */
short known = 1;        /* what operators are told was lost */
byte shown = 0;         /* the newest history that somebody has shown */
byte rollbacks = 0;
byte crashes = 0;
byte elections = 0;
byte histories = 0;     /* begun by proof */

byte broken = 0;
#define FAILS(n) broken = n; assert(broken != n)

#define leads (leader != NOBODY)
#define lead tip[leader]

/* 1. What a zone acknowledged it refuses for ever. */
#define undone(z) (without(owes[z], refuses[z]) != 0)

/* 2. A zone that counts as holding all that the leader has, holds it. */
#ifdef COUNTS_BY_INDEX
#define counts(z) (entry[at[z]].index >= entry[lead].index)
#else
#define counts(z) (inPast(lead, at[z]))
#endif
#define falseGate(z) (leads && answered[z] && counts(z) && without(entry[lead].past, refuses[z]) != 0)

/* 3. What a zone knows and the leader that answered it does not, operators are told. */
#define silentZone(z) (leads && answered[z] && proof[z] == 0 && entry[at[z]].history <= entry[lead].history && \
	without(without(owes[z], entry[lead].past), known) != 0)

/* 4. Nobody begins a history without a loss. */
#define needless (histories > rollbacks)

/* 5. What a member had applied it loses with a notice only. */
#define silentMember(m) (up[m] && without(without(had[m], entry[tip[m]].past), known) != 0)

/* 6. While the others are up, one member that was put back loses nothing. */
#ifdef OTHERS_UP
#define lostToOne (rollbacks <= 1 && leads && without(acknowledged, entry[lead].past) != 0)
#else
#define lostToOne false
#endif

proctype monitor() {
end:
	do
	:: d_step { undone(0) || undone(ZONES - 1) -> FAILS(1) }
	:: d_step { falseGate(0) || falseGate(ZONES - 1) -> FAILS(2) }
	:: d_step { silentZone(0) || silentZone(ZONES - 1) -> FAILS(3) }
	:: d_step { needless -> FAILS(4) }
	:: d_step { silentMember(0) || silentMember(1) || silentMember(2) -> FAILS(5) }
	:: d_step { lostToOne -> FAILS(6) }
	od
}

/* --- the log --- */

#define room (top < CHANGES)
#define follows(m) (up[m] && m != leader && leads && inPast(tip[m], lead))
#define quorum(f) (leads && up[leader] && follows(f))

inline unanswer() { answered[0] = false; answered[ZONES - 1] = false }

/* append: the leader and one other member hold the entry when it is acknowledged,
   and each remembers durably what the other one has. */
inline append(f) {
	top++;
	prev[top] = lead;
	entry[top].index = entry[lead].index + 1;
	entry[top].history = entry[prev[top]].history;
	entry[top].term = term[leader];
	entry[top].past = entry[lead].past | bit(top);
	acknowledged = acknowledged | bit(top);
	tip[leader] = top; had[leader] = had[leader] | entry[top].past;
	tip[f] = top; had[f] = had[f] | entry[top].past; term[f] = term[leader];
	seen[leader].last[f] = top; seen[f].last[leader] = top;
	unanswer()
}

/* apply judges a proof once more: still of this history, still absent. */
#ifdef APPLIES_ANY_PROOF
#define proves(p) true
#else
#define proves(p) (entry[p].history == entry[lead].history && !inPast(p, lead))
#endif
inline applyProof(i, f) {
	if
	:: proves(proof[i]) ->
		known = known | without(entry[proof[i]].past, entry[lead].past);
		histories++;
		append(f); entry[top].history++
	:: else
	fi;
	proof[i] = 0
}

/* --- members --- */

#define asGood(m, v) (entry[tip[m]].term > entry[tip[v]].term || \
	(entry[tip[m]].term == entry[tip[v]].term && entry[tip[m]].index >= entry[tip[v]].index))

inline elect(m, v) {
	elections++;
	if
	:: term[m] > term[v] -> term[v] = term[m]
	:: else -> term[m] = term[v]
	fi;
	term[m]++; term[v] = term[m];
	leader = m; unanswer()
}

/* less: a peer that is up remembers more of this member than it has. */
#define remembersMore(o, m) (o != m && up[o] && \
	entry[seen[o].last[m]].history >= entry[tip[m]].history && !inPast(seen[o].last[m], tip[m]))
#ifdef STARTS_WITH_LESS
#define less(m) false
#else
#define less(m) (remembersMore(0, m) || remembersMore(1, m) || remembersMore(2, m))
#endif

inline start(m) {
	if
	:: less(m) -> barred[m] = true
	:: else -> up[m] = true
	fi
}

inline forgetOthers(m) {
	seen[m].last[0] = 0; seen[m].last[1] = 0; seen[m].last[2] = 0
}

/* contact: a follower takes the leader's log, unless that would replace what it applied. */
inline contact(m) {
	if
	:: inPast(tip[m], lead) -> tip[m] = lead; had[m] = had[m] | entry[lead].past; term[m] = term[leader];
		seen[leader].last[m] = lead; seen[m].last[leader] = lead
#ifdef REPLACES_APPLIED
	:: else -> tip[m] = lead
#else
	:: else -> /* it hands over its position and stops */
		up[m] = false; barred[m] = true;
		known = known | without(entry[tip[m]].past, entry[lead].past);
		if
		:: entry[tip[m]].history == entry[lead].history -> proof[ZONES] = tip[m]
		:: else
		fi;
		if
		:: entry[tip[m]].history > shown -> shown = entry[tip[m]].history
		:: else
		fi
#endif
	fi
}

proctype member(byte m; byte a; byte b) {
end:
	do
	:: d_step { leader != m && up[m] && !barred[m] && up[a] && asGood(m, a) && elections < ELECTIONS -> elect(m, a) }
	:: d_step { leader != m && up[m] && !barred[m] && up[b] && asGood(m, b) && elections < ELECTIONS -> elect(m, b) }
	:: d_step { leader != m && leads && up[m] && up[leader] && tip[m] != lead -> contact(m) }
#ifndef OTHERS_UP
	:: d_step { up[m] && crashes < CRASHES -> crashes++; up[m] = false;
		if :: leader == m -> leader = NOBODY; unanswer() :: else fi }
#endif
	:: d_step { !up[m] && !barred[m] -> start(m) }
	:: atomic { up[m] && rollbacks < ROLLBACKS && tip[m] != 0 -> /* stopped, put back, started */
		rollbacks++; up[m] = false;
		if :: leader == m -> leader = NOBODY; unanswer() :: else fi;
		do
		:: tip[m] = prev[tip[m]]; if :: tip[m] == 0 -> break :: else fi
		:: tip[m] != 0 -> tip[m] = prev[tip[m]]; break
		od;
		d_step { term[m] = entry[tip[m]].term; had[m] = entry[tip[m]].past; forgetOthers(m); start(m) }
	}
	:: d_step { barred[m] && leads && up[leader] && (quorum(a) || quorum(b)) -> /* emptied; votes once it has caught up */
		barred[m] = false; up[m] = true; tip[m] = lead; had[m] = entry[lead].past; term[m] = term[leader];
		forgetOthers(m); seen[leader].last[m] = lead }
	od
}

/* --- a zone at a member --- */

inline take(z, t) {
	refuses[z] = refuses[z] | entry[t].past; at[z] = t; owes[z] = owes[z] | entry[t].past
}

inline merge(z, t) {
	known = known | without(owes[z], entry[t].past);
#ifdef FORGETS
	refuses[z] = entry[t].past; at[z] = t;
#else
	refuses[z] = refuses[z] | entry[t].past; at[z] = t;
#endif
	owes[z] = owes[z] | entry[t].past
}

inline resume(z, m) {
	if
#ifdef RESUMES_BY_INDEX
	:: entry[at[z]].history == entry[tip[m]].history ->
		if
		:: entry[at[z]].index < entry[tip[m]].index ->
			b = tip[m];
			do
			:: entry[b].index > entry[at[z]].index -> refuses[z] = refuses[z] | bit(b); b = prev[b]
			:: else -> break
			od;
			b = 0; at[z] = tip[m]
		:: else
		fi;
		if :: m == leader -> answered[z] = true :: else fi
#else
	:: inPast(at[z], tip[m]) -> take(z, tip[m]); answered[z] = (m == leader)
#endif
	:: else ->
		if
		:: m != leader /* nothing yet, and the position goes on to the leader */
		:: else ->
			answered[z] = true;
			if
			:: entry[at[z]].history == entry[tip[m]].history ->
#ifndef IGNORES_PROOFS
				proof[z] = at[z]
#else
				skip
#endif
			:: entry[at[z]].history > entry[tip[m]].history ->
				if :: entry[at[z]].history > shown -> shown = entry[at[z]].history :: else fi
			:: else -> merge(z, tip[m])
			fi
		fi
	fi
}

#define stale(z, m) (up[m] && (at[z] != tip[m] || (m == leader && !answered[z])))

proctype zone(byte z) {
	byte b = 0;
end:
	do
	:: d_step { stale(z, 0) && (0 != leader || quorum(1) || quorum(2)) -> resume(z, 0) }
	:: d_step { stale(z, 1) && (1 != leader || quorum(0) || quorum(2)) -> resume(z, 1) }
	:: d_step { stale(z, 2) && (2 != leader || quorum(0) || quorum(1)) -> resume(z, 2) }
	od
}

proctype operators() {
end:
	do
	:: d_step { room && quorum(0) -> append(0) }
	:: d_step { room && quorum(1) -> append(1) }
	:: d_step { room && quorum(2) -> append(2) }
	/* the leader applies what was handed to it */
	:: d_step { room && quorum(0) && proof[0] != 0 -> applyProof(0, 0) }
	:: d_step { room && quorum(1) && proof[0] != 0 -> applyProof(0, 1) }
	:: d_step { room && quorum(2) && proof[0] != 0 -> applyProof(0, 2) }
	:: d_step { room && quorum(0) && proof[1] != 0 -> applyProof(1, 0) }
	:: d_step { room && quorum(1) && proof[1] != 0 -> applyProof(1, 1) }
	:: d_step { room && quorum(2) && proof[1] != 0 -> applyProof(1, 2) }
	:: d_step { room && quorum(0) && proof[2] != 0 -> applyProof(2, 0) }
	:: d_step { room && quorum(1) && proof[2] != 0 -> applyProof(2, 1) }
	:: d_step { room && quorum(2) && proof[2] != 0 -> applyProof(2, 2) }
	/* confirm-loss --adopt: a history above every one that was shown */
	:: d_step { room && quorum(0) && shown > entry[lead].history -> append(0); entry[top].history = shown + 1 }
	:: d_step { room && quorum(1) && shown > entry[lead].history -> append(1); entry[top].history = shown + 1 }
	:: d_step { room && quorum(2) && shown > entry[lead].history -> append(2); entry[top].history = shown + 1 }
	od
}

init {
	atomic {
		entry[0].past = 1;
		run monitor();
		run operators();
		run member(0, 1, 2); run member(1, 0, 2); run member(2, 0, 1);
		run zone(0); run zone(1)
	}
}
