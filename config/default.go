package config

import "time"

// AdminOff is the admin address that turns the operators' listener off.
const AdminOff = "off"

// The resources of a listener.
const (
	ResourceClient     = "client"
	ResourceFederation = "federation"
)

// Default is the configuration of an empty file.
func Default() *Config {
	return &Config{
		DataDir: "entente-data",
		Signing: Signing{Validity: Duration(day)},
		Listeners: []Listener{{
			Addresses: []string{"127.0.0.1:8008"},
			Resources: []string{ResourceClient, ResourceFederation},
		}},
		Admin:    Admin{Address: "127.0.0.1:9008", Pprof: true},
		Database: Database{MaxConnections: 16},
		Federation: Federation{
			Mode:           FederationOpen,
			SystemRoots:    true,
			ConnectTimeout: Duration(10 * time.Second),
			RequestTimeout: Duration(time.Minute),
			LongestBackoff: Duration(6 * time.Hour),
			Staging:        Staging{Events: 10_000, Bytes: 64 << 20},
		},
		Passwords: Passwords{Memory: 32 << 20, Passes: 2, MinLength: 8},
		Sessions: Sessions{
			Refresh:              true,
			AccessTokenLifetime:  Duration(time.Hour),
			RefreshTokenLifetime: Duration(90 * day),
		},
		Presence:    Presence{Local: true},
		PublicRooms: PublicRooms{Publish: "everyone"},
		RateLimits: RateLimits{
			Enabled:    true,
			Login:      Rate{PerSecond: 0.2, Burst: 10},
			Register:   Rate{PerSecond: 0.1, Burst: 5},
			Read:       Rate{PerSecond: 50, Burst: 500},
			Write:      Rate{PerSecond: 10, Burst: 100},
			Message:    Rate{PerSecond: 10, Burst: 50},
			Create:     Rate{PerSecond: 0.5, Burst: 10},
			Join:       Rate{PerSecond: 1, Burst: 20},
			Invite:     Rate{PerSecond: 1, Burst: 20},
			Directory:  Rate{PerSecond: 2, Burst: 20},
			Media:      Rate{PerSecond: 10, Burst: 100},
			Federation: Rate{PerSecond: 100, Burst: 1000},
		},
		Limits: Limits{
			RequestBody: 1 << 20,
			JSONDepth:   100,
			SyncTimeout: Duration(2 * time.Minute),
			Upload:      50 << 20,
		},
		Logging: Logging{Level: "info", Format: "text"},
	}
}
