// Package grpcerr is how gRPC services say what is wrong, as package apierr is for
// HTTP: the one mapping between the codes of a [federation.Error] and those of gRPC,
// and the detail that carries the reason and the hint.
//
// A service may say less than the mapping would: KDS tells a caller that has proved
// nothing only that it is not authenticated.
package grpcerr

import (
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meridiankds/meridian/federation"
)

// table is the mapping in both directions.
var table = []struct {
	ours federation.Code
	grpc codes.Code
}{
	{federation.Invalid, codes.InvalidArgument},
	{federation.Unauthenticated, codes.Unauthenticated},
	{federation.Forbidden, codes.PermissionDenied},
	{federation.NotFound, codes.NotFound},
	{federation.Conflict, codes.FailedPrecondition},
	{federation.TooLarge, codes.ResourceExhausted},
	{federation.Unavailable, codes.Unavailable},
	{federation.Internal, codes.Internal},
}

// sent are codes that are sent as another one's.
var sent = map[federation.Code]codes.Code{
	// As in HTTP, where it is a gateway's timeout; what a client reads is that it
	// should ask again.
	federation.UnknownOutcome: codes.DeadlineExceeded,
}

// read are gRPC codes that nothing here sends, and what they are nearest to.
var read = map[codes.Code]federation.Code{
	codes.AlreadyExists:    federation.Conflict,
	codes.Aborted:          federation.Conflict,
	codes.OutOfRange:       federation.Invalid,
	codes.DeadlineExceeded: federation.Unavailable,
	codes.Canceled:         federation.Unavailable,
}

// Code returns the gRPC code of an error's code; Internal for one that is unknown.
func Code(code federation.Code) codes.Code {
	for _, row := range table {
		if row.ours == code {
			return row.grpc
		}
	}
	if c, ok := sent[code]; ok {
		return c
	}
	return codes.Internal
}

// CodeOf returns the code that a gRPC code stands for: the inverse of [Code], for
// clients. Codes that Meridian does not send map to the nearest one, or to Internal.
func CodeOf(code codes.Code) federation.Code {
	for _, row := range table {
		if row.grpc == code {
			return row.ours
		}
	}
	if c, ok := read[code]; ok {
		return c
	}
	return federation.Internal
}

// domain names the vocabulary of the reasons in a status.
const domain = "meridian"

// New returns a status with a reason and a hint; either may be empty.
func New(code codes.Code, message, reason, hint string) *status.Status {
	st := status.New(code, message)
	if reason == "" {
		return st
	}
	info := &errdetails.ErrorInfo{Reason: strings.ToUpper(reason), Domain: domain}
	if hint != "" {
		info.Metadata = map[string]string{"hint": hint}
	}
	if with, err := st.WithDetails(info); err == nil {
		st = with
	}
	return st
}

// InfoOf returns the reason and the hint of a status, "" where it has none of ours.
func InfoOf(st *status.Status) (reason, hint string) {
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			reason, hint = strings.ToLower(info.GetReason()), info.GetMetadata()["hint"]
		}
	}
	return reason, hint
}
