// Package attack attacks whole globals and zones, as a stranger, as the thief of a
// token and as the thief of a certificate would, and searches what they wrote for
// secrets. What one package can be attacked with by itself is tried beside that
// package. This is the index of both; TestTheIndexIsTrue fails where a test that it
// names does not exist.
//
// # Tokens
//
// Every refusal on every port that takes a token: no algorithm, the public key as an
// HMAC secret, another kind's token, a changed claim, a key that nobody has, expired,
// not yet valid, revoked, too large, duplicate JSON keys:
//
//	internal/test/attack.TestForgeriesOnEveryPort
//	cptoken.TestVectors, cptoken.TestVerifyRefusesForgeries, cptoken.FuzzParse, cptoken.FuzzVerify, cptoken.FuzzReader
//	kds.TestEveryCallIsAuthenticated, internal/global/admission.TestTokens, internal/access.TestTokens
//	internal/global/adminapi.TestForeignTokensAreNotRevoked
//
// A stolen token of a zone, tried for everything that it must not open, and one zone's
// for another:
//
//	internal/test/attack.TestAStolenZoneTokenOpensNothingElse
//	internal/test/cluster.TestOneZonesTokenSpeaksForNoOther, kds.TestNodeIDMustBeTheZone
//	internal/global/adminapi.TestIssuersDoNotEscalate, internal/global/adminapi.TestRoutesByRole
//
// # Certificates
//
// A zone's certificate on the peer port, a node's on the KDS port, another cluster's
// and another CA's anywhere:
//
//	internal/test/attack.TestEachPortTakesOneRole, internal/test/attack.TestAMembersCertificateOpensNothing
//	internal/test/attack.TestNobodyIsTakenForAnother, internal/net/tlsutil.TestWhoAnswersIsExpected
//	internal/global/peer.TestForgedProofs, internal/global/peer.TestAnEchoProvesNothing
//	internal/global/peer.TestTheNodeThatIsMeant, internal/global/peer.TestNoMembersGetNoAnswer
//	internal/global/peer.TestReviewEndsConnections, internal/net/tlsutil.TestConnectionsEndWithTheirCA
//	internal/test/cluster.TestADroppedCAEndsConnections, internal/test/cluster.TestAnExpelledMemberIsRefused
//	internal/test/cluster.TestAnExpelledCertificateIsRefused, internal/global/adminapi.TestRequestsBelongToWhoMadeThem
//	internal/global/peer.TestStrangersAreRefused, internal/global/peer.TestWhatIsNoPeer, internal/global/admission.TestCertificates
//	internal/net/tlsutil.TestPeerPortTakesNodesOfTheClusterOnly, internal/net/tlsutil.TestPeerClientRefusesAForeignServer
//	raftstore/raftnet.TestConnectionsAreMeantForOneNode, internal/global/peer.TestAForwardedRequestNeedsACaller
//
// What SECURITY.md says that a thief cannot do, and how one recovers:
//
//	internal/test/attack.TestEveryCannotIsTried, internal/test/attack.TestTheDiagnosticsPortTellsNoSecret
//	internal/test/cluster.TestAZoneRefusesAnExpelledGlobal, internal/test/cluster.TestRotationsUnderLoad
//	internal/test/cluster.TestZoneRelaysTokens, internal/test/cluster.TestEachCallersWayToTheLeader
//
// # Exhaustion
//
// Compression bombs, a million names in a subscription, megabytes of headers,
// connections that never speak, too many connections, readers that do not read,
// pings, logs that a stranger could fill:
//
//	internal/test/attack.TestAMillionNames, internal/test/attack.TestAMegabyteOfHeaders
//	internal/test/attack.TestSilentConnectionsHinderNobody
//	internal/test/attack.TestCompressionBombs, internal/test/attack.TestSlowReadersHinderNobody
//	kds.TestDecompressionIsBounded, kds.TestOversizedMessage, kds/wire.TestConfigDumpIsDropped, kds/wire.FuzzRequest
//	kds.TestTooManyNames, kds.TestTooManyTypes, kds.TestTooManyStreams, kds.TestSilentConnectionsKeepNobodyOut
//	kds.TestHeadersAreBounded, kds.TestFirstRequestDeadline, kds.TestPingsAreBounded
//	kds.TestSlowZoneIsDisconnected, kds/server.TestPinnedDeltasAreBounded, kds/server.TestCrowdedMakersHinderNobody
//	internal/net/preauth.TestLedger, internal/net/preauth.TestAFloodIsBounded, internal/net/preauth.TestTheDeadline
//	internal/net/preauth.TestHandshakesTakeTurns, internal/net/preauth.TestAQueueIsFair, internal/net/preauth.TestQuotas
//	internal/net/preauth.TestProxyProtocol, internal/net/preauth.TestLargeBodies
//	internal/apierr.TestNothingIsTakenForADeclaredLength, internal/net/preauth.TestNoPlaceWhileTheCallerWaits, internal/net/preauth.TestATokenThatNamesNobody
//	internal/net/preauth.TestEverybodyAtOnce, internal/net/preauth.TestClosingCutsNoAnswer, internal/net/httpserver.TestHeadersAreChargedWhatTheyOccupy
//	internal/test/arch.TestEveryDoorHasAPolicy, internal/test/arch.TestEveryRouteAndMethodHasAPolicy
//	kds.TestCallsThatWaitAreCharged, kds/server.TestAZoneForgetsItsOwn, internal/global/adminapi.TestASlowListGivesWay
//	internal/test/attack.TestSilentCallersHoldNoShutdownUp
//	internal/zone/proxyauth.TestWhoseQuota, internal/zone/proxies.TestWhoSaysAName
//	internal/zone/xds.TestNoMessageIsReadWithoutAToken, internal/zone/xds.TestEveryMethodHasAPolicy
//	internal/zone/proxyport.TestEveryRouteHasAPolicy, internal/zone/proxies.TestALoopIsSlowed
//	internal/zone/proxies.TestStreamsOfAProxyDoNotDisplaceEachOther, internal/apierr.TestElementsAreCounted
//	raftstore/raftnet.TestRaftCannotFillTheLog
//	internal/net/httpserver.TestLargeHeadersAreRefused
//	internal/global/adminapi.TestLargeLists, internal/global/adminapi.TestBackupsAreBounded, internal/apierr.TestReadJSONBounds
//	internal/global/adminapi.TestOnlyAdminsCanFillTheLog, internal/global/admission.TestStrangersCannotFillTheLog
//	internal/zone/proxyport.TestStrangersCannotFillTheLog, internal/apiclient.TestAnswersAreBounded
//
// # HTTP
//
// Requests that two programs could read differently, a foreign Host or Origin on
// loopback, paths that climb:
//
//	internal/test/attack.TestNoRequestHidesInAnother, internal/test/attack.TestAForeignHostOnLoopback
//	internal/test/attack.TestPathsThatClimb
//	internal/access.TestWithoutToken, internal/global/adminapi.TestBadNamesInPaths
//	internal/global/adminapi.TestPathsAreNotLoggedBeforeTheyAreChecked, internal/apiclient.TestPathsAreEscaped
//	internal/apiclient.TestRedirectDoesNotCarryTheToken, internal/apierr.FuzzUnmarshalStrict
//
// # Files that somebody else wrote
//
//	raftstore/state.FuzzDecodeCommand, raftstore/state.FuzzReadSnapshot, raftstore.TestRestoreRefuses
//	raftstore.TestFlippedBitsInTheLog, raftstore/state.TestSnapshotRefusesEveryFlippedBit
//	internal/endpoints.TestReadRefusesWhatNoNodeWrote, kds/wire.TestZoneRefusesMalformedChanges
//
// # Secrets in the wrong place
//
// Logs, metrics, profiles, the audit trail, files and answers, searched for tokens and key
// bytes, and core files, of which there must be none:
//
//	internal/test/attack.TestNothingOfTheAttacksIsWrittenDown
//	internal/test/cluster.TestNothingSecretIsLeftBehind, internal/coredump.TestACrashLeavesNoCore
//	internal/test/cluster.TestPrivateKeysStayAtTheGlobal, internal/test/cluster.TestTheSearchFindsWhatItLooksFor
//	raftstore.TestNoPrivateKeyOnDisk, raftstore.TestBackupHoldsNoPrivateKey, raftstore.TestTheSearchFindsAKey
//	internal/global/adminapi.TestIssuingLeavesOnlyTheIDInTheLog, internal/apiclient.TestNoErrorShowsTheToken
//	cptoken/issue.TestNothingPrintsSecrets, internal/coredump.TestDisable
package attack
