// Package kdstest has the doubles with which the packages below kds are tested: a
// source of changes, a zone's copy in memory, an authenticator and a log. Tests only.
package kdstest
