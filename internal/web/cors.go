package web

import "net/http"

// The values that browsers are told, shared by all answers.
//
// Spec: client-server-api/#web-browser-clients
var (
	corsOrigin  = []string{"*"}
	corsMethods = []string{"GET, POST, PUT, DELETE, OPTIONS"}
	corsHeaders = []string{"X-Requested-With, Content-Type, Authorization"}
	corsExpose  = []string{"Retry-After, X-Request-Id"}
	corsMaxAge  = []string{"86400"}
)

// setCORS lets web clients of any origin call. A preflight may be remembered
// for a day, which halves what a web client asks.
func setCORS(h http.Header, preflight bool) {
	h["Access-Control-Allow-Origin"] = corsOrigin
	h["Access-Control-Allow-Methods"] = corsMethods
	h["Access-Control-Allow-Headers"] = corsHeaders
	h["Access-Control-Expose-Headers"] = corsExpose
	if preflight {
		h["Access-Control-Max-Age"] = corsMaxAge
	}
}
