package clientapi

import (
	"context"
	"maps"

	"entente/internal/web"
	"entente/roomserver/event"
)

// specVersions are the releases of the specification that clients may count
// on, in whole or, where a client can find out otherwise what there is, in
// part. Add to it what has become true.
//
// Spec: client-server-api/#get_matrixclientversions
var specVersions = []string{
	"v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11",
}

// unstableFeatures are those that became part of a release after the last one
// in specVersions, by the names that clients look for.
var unstableFeatures = map[string]bool{
	"uk.tcpip.msc4133":        true, // profile fields
	"uk.tcpip.msc4133.stable": true,
	"org.matrix.msc4222":      true, // state_after in sync
}

func (s *Server) getVersions(context.Context, *web.Call) (any, error) {
	features := maps.Clone(unstableFeatures)
	maps.Copy(features, s.opts.Features)
	return struct {
		Versions []string        `json:"versions"`
		Features map[string]bool `json:"unstable_features"`
	}{specVersions, features}, nil
}

// getCapabilities tells what the server lets this user do.
//
// Spec: client-server-api/#capabilities-negotiation
func (s *Server) getCapabilities(context.Context, *web.Call) (any, error) {
	enabled, disabled := map[string]any{"enabled": true}, map[string]any{"enabled": false}
	available := map[event.Version]string{}
	for _, v := range event.SupportedVersions() {
		available[v] = "stable"
	}
	return map[string]any{"capabilities": map[string]any{
		"m.change_password": enabled,
		"m.room_versions":   map[string]any{"default": event.DefaultVersion, "available": available},
		"m.set_displayname": enabled,
		"m.set_avatar_url":  enabled,
		"m.profile_fields":  enabled,
		"m.3pid_changes":    disabled,
		"m.get_login_token": disabled,
	}}, nil
}
