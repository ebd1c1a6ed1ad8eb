package endpoints

// ServiceHeader names, in every answer of a diagnostics port, what answers:
// "global" or "zone". The ports of both have the same default, and health asked
// of the wrong one would be believed.
const ServiceHeader = "Meridian-Service"
