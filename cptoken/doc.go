// Package cptoken is what Meridian knows about tokens: the claims of every kind,
// the public keys and revocations that decide over them, and verification with a
// typed reason for each refusal.
//
// Everything here works with public material only. Private keys, the symmetric
// control plane keys, issuing and sealing live in cptoken/issue, which neither a
// zone nor the KDS may link.
//
// A token is a JWT (RFC 7519) in JWS compact form (RFC 7515), signed with RS256
// or, for control plane tokens, HS256 (RFC 7518). The claim names are Kuma's and
// Kong Mesh's, so that tokens that those programs issued verify here.
//
// # How a token is judged
//
// A token is checked in this order, and the first thing wrong is what is reported:
//
//  1. size, form, header and the types of known claims ([Parse]): too_large,
//     malformed. Nothing is read leniently that two programs could read in two
//     ways: doubled keys, line breaks in base64, half surrogate pairs.
//  2. algorithm, kid, key, signature, kind: unsupported_algorithm, missing_kid,
//     unknown_key (no_keys), bad_signature, unknown_claim, wrong_kind. The kind of token asked
//     for decides the algorithm and the keys, never the token.
//  3. time, presence of exp and jti, revocation, cut-off, and what a registered
//     key may vouch for: expired, not_yet_valid, missing_expiry, missing_id,
//     revoked, cut_off, not_allowed.
//  4. what the token is presented for ([Claims.CheckZoneProxy],
//     [Claims.CheckControlPlane], [Claims.CheckDataplane]): wrong_zone,
//     out_of_scope, wrong_mesh, wrong_name, wrong_type, tag_mismatch,
//     wrong_workload.
//
// A [Verifier] remembers only that some bytes carry a good signature of some key;
// steps 3 and 4, and whether the key is still there, are asked anew each time.
//
// testdata holds tokens with the verdict in their names, for this and other
// programs.
package cptoken
