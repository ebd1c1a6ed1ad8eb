// Package apierr is how the HTTP APIs say what is wrong: it writes an error in
// the shape that Kuma's clients know, and reads request bodies strictly so that
// the error can name the field at fault.
//
// The shape is Kuma's standard error with two members added, "reason" (a word
// for programs, such as "expired") and "hint" (a line for operators):
//
//	{"type":"/std-errors","status":400,"title":"…","detail":"…",
//	 "invalid_parameters":[{"field":"…","reason":"…"}],
//	 "details":"…","causes":[{"field":"…","message":"…"}],
//	 "reason":"…","hint":"…"}
//
// "details" repeats "detail", and "causes" repeats "invalid_parameters", for old
// clients. Only what [federation.Error] marks as fit for operators is written; an
// error of any other type becomes a 500 that repeats nothing of it.
package apierr
