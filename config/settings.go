package config

import "time"

// Config is the whole configuration of one server.
type Config struct {
	// The name that stands in the IDs of users and rooms: @alice:example.org.
	// Required. It cannot be changed later: other servers know this one by it.
	ServerName string `yaml:"server_name" example:"example.org"`
	// Folder for what the server keeps beside its database: signing key,
	// certificates from ACME, media, and the database itself when it is SQLite.
	DataDir string `yaml:"data_dir"`
	// Keys that sign this server's events and requests.
	Signing Signing `yaml:"signing"`
	// Where the server listens for clients and for other servers.
	Listeners []Listener `yaml:"listeners"`
	// What clients and other servers are told under /.well-known/matrix.
	WellKnown WellKnown `yaml:"well_known"`
	// Listener for operators: metrics, health, readiness, profiles.
	Admin Admin `yaml:"admin"`
	// Where everything is stored: SQLite in the data folder unless PostgreSQL
	// is set.
	Database Database `yaml:"database"`
	// Several nodes on one PostgreSQL database.
	Cluster Cluster `yaml:"cluster"`
	// Exchange with other servers.
	Federation Federation `yaml:"federation"`
	// The audit log: logins, refusals and acts of administrators, in the
	// database, chained by hashes. "entente audit" reads and proves it.
	Audit Audit `yaml:"audit"`
	// Who may make an account.
	Registration Registration `yaml:"registration"`
	// How passwords are hashed: with Argon2id. For tests, memory 64 KiB and
	// passes 1 make it cheap.
	Passwords Passwords `yaml:"passwords"`
	// How long a login lasts.
	Sessions Sessions `yaml:"sessions"`
	// Who sees who is online.
	Presence Presence `yaml:"presence"`
	// The directory of public rooms.
	PublicRooms PublicRooms `yaml:"public_rooms"`
	// Bridges and bots.
	AppServices AppServices `yaml:"appservices"`
	// How often one user, peer or address may call.
	RateLimits RateLimits `yaml:"rate_limits"`
	// Bounds on single requests.
	Limits Limits `yaml:"limits"`
	// The server's log, on standard error.
	Logging Logging `yaml:"logging"`
}

// Signing is about this server's own keys.
type Signing struct {
	// File of the signing key, one line: ed25519, the key's ID, and the seed
	// in unpadded base64. Only its owner may read it. Empty means signing.key
	// in data_dir, which a first start makes.
	KeyFile string `yaml:"key_file"`
	// Keys that signed events in the past. Other servers need them to verify
	// those events.
	OldKeys []OldKey `yaml:"old_keys"`
	// How long other servers may keep the current key before they ask again.
	Validity Duration `yaml:"validity"`
}

// OldKey is a public key that is no longer signed with.
type OldKey struct {
	// The key's ID with its algorithm.
	ID string `yaml:"id" example:"ed25519:auto1"`
	// The public key in unpadded base64.
	Key string `yaml:"key" example:"Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw"`
	// When it was last signed with, as a time (2026-01-31T00:00:00Z).
	Expired time.Time `yaml:"expired" example:"2026-01-31T00:00:00Z"`
}

// Listener is an address that the server listens on.
type Listener struct {
	// Addresses as host:port. An empty host is every interface.
	Addresses []string `yaml:"addresses" example:"[127.0.0.1:8008]"`
	// What is served here: client, federation, or both. Empty is both.
	Resources []string `yaml:"resources" enum:"client,federation"`
	// Certificate for HTTPS. Without tls and acme the listener speaks plain
	// HTTP and belongs behind a reverse proxy.
	TLS TLS `yaml:"tls"`
	// HTTPS with certificates that are fetched and renewed by themselves.
	ACME ACME `yaml:"acme"`
	// Addresses or ranges of reverse proxies whose X-Forwarded-For is believed.
	TrustedProxies []string `yaml:"trusted_proxies" example:"[127.0.0.1, 10.0.0.0/8]"`
}

// TLS names a certificate. The files are read again when they change.
type TLS struct {
	// The certificate and its chain, PEM.
	CertFile string `yaml:"cert_file" example:"/etc/entente/tls.crt"`
	// The certificate's private key, PEM.
	KeyFile string `yaml:"key_file" example:"/etc/entente/tls.key"`
}

// ACME gets certificates from a certificate authority such as Let's Encrypt.
// The authority must reach the listener on port 443.
type ACME struct {
	// Host names to get certificates for. Empty turns ACME off.
	Domains []string `yaml:"domains" example:"[matrix.example.org]"`
	// Where the authority may send warnings.
	Email string `yaml:"email" example:"ops@example.org"`
	// The authority's directory. Empty is Let's Encrypt.
	Directory string `yaml:"directory" example:"https://acme-v02.api.letsencrypt.org/directory"`
	// Folder for certificates. Empty means acme in data_dir.
	Cache string `yaml:"cache"`
}

// WellKnown is what is served under /.well-known/matrix.
type WellKnown struct {
	// Base URL of the Client-Server API. Empty answers clients with 404.
	Client string `yaml:"client" example:"https://matrix.example.org"`
	// host:port where other servers reach this one, if not at server_name and
	// port 8448. Empty answers servers with 404.
	Server string `yaml:"server" example:"matrix.example.org:443"`
	// Whom people turn to.
	Support Support `yaml:"support"`
}

// Support says whom people turn to.
type Support struct {
	// A page about the server for its users.
	Page string `yaml:"page" example:"https://example.org/matrix-help"`
	// People who answer.
	Contacts []Contact `yaml:"contacts"`
}

// Contact is someone who answers. It has an address of one kind at least.
type Contact struct {
	// m.role.admin, m.role.security, or a name of your own with a dot in it.
	Role string `yaml:"role" example:"m.role.admin"`
	// An email address.
	Email string `yaml:"email" example:"ops@example.org"`
	// A Matrix user ID.
	MatrixID string `yaml:"matrix_id" example:"@ops:example.org"`
}

// Admin is the operators' listener.
type Admin struct {
	// host:port, or off. Whoever reaches it can read metrics and profiles:
	// keep it on loopback or in a network of your own.
	Address string `yaml:"address"`
	// Serve Go's profiles under /debug/pprof.
	Pprof bool `yaml:"pprof"`
}

// Database is where everything is stored. At most one of sqlite and postgres
// is set.
type Database struct {
	// File of an SQLite database. Empty, without postgres, means entente.db in
	// data_dir.
	SQLite string `yaml:"sqlite"`
	// Connection string of a PostgreSQL database.
	Postgres Secret `yaml:"postgres" example:"postgres://entente:password@db.example.org/entente"`
	// File that holds the connection string.
	PostgresFile string `yaml:"postgres_file" example:"/run/secrets/entente-dsn"`
	// Connections of this node to PostgreSQL, at most.
	MaxConnections int `yaml:"max_connections"`
}

// Cluster connects the nodes of one server.
type Cluster struct {
	// URL of NATS, which carries wake-ups between nodes. Empty is a single
	// node. Needs PostgreSQL.
	NATS Secret `yaml:"nats" example:"nats://nats.example.org:4222"`
	// File that holds the URL.
	NATSFile string `yaml:"nats_file" example:"/run/secrets/entente-nats"`
}

// Federation is about other servers.
type Federation struct {
	// open to every server, to listed ones and the peers of agreements, or
	// closed to all whatever is agreed. Agreements ("entente agreement")
	// restrict their peers in each mode.
	Mode FederationMode `yaml:"mode" enum:"open,listed,closed"`
	// Servers for the mode listed, and *.example.org for all below a domain.
	Listed []string `yaml:"listed" example:"[other.example, \"*.gov.example\"]"`
	// Where to reach a server, instead of discovery: its name to host:port.
	Static map[string]string `yaml:"static" example:"{other.example: \"10.1.2.3:8448\"}"`
	// Files of certificate authorities, PEM, that vouch for other servers.
	CAFiles []string `yaml:"ca_files" example:"[/etc/entente/agency-ca.pem]"`
	// Trust the system's certificate authorities too.
	SystemRoots bool `yaml:"system_roots"`
	// Let requests go to private and loopback addresses of any kind. Only for
	// tests and closed networks: a peer or a user can name such an address.
	AllowPrivateAddresses bool `yaml:"allow_private_addresses"`
	// Private ranges that requests may go to all the same.
	AllowedRanges []string `yaml:"allowed_ranges" example:"[10.20.0.0/16]"`
	// Exchange with other servers who is online.
	Presence bool `yaml:"presence"`
	// Servers to ask for the keys of servers that do not answer. None is the
	// safe choice: a notary decides whose signature counts.
	Notaries []string `yaml:"notaries"`
	// How long a connection to another server may take to come about.
	ConnectTimeout Duration `yaml:"connect_timeout"`
	// How long a request to another server may take.
	RequestTimeout Duration `yaml:"request_timeout"`
	// The longest pause before a server that does not answer is tried again.
	LongestBackoff Duration `yaml:"longest_backoff"`
	// How much of what one server sent may wait to be processed; beyond it,
	// that server is told to come back later.
	Staging Staging `yaml:"staging"`
}

// FederationMode says which servers may talk to this one.
type FederationMode string

// The modes of federation.
const (
	FederationOpen   FederationMode = "open"
	FederationListed FederationMode = "listed"
	FederationClosed FederationMode = "closed"
)

// Staging bounds what waits, for each sending server.
type Staging struct {
	// Events.
	Events int `yaml:"events"`
	// Bytes.
	Bytes Size `yaml:"bytes"`
}

// Audit is about the audit log.
type Audit struct {
	// Where each record is delivered to beside the database. A new one gets
	// the log from its beginning; each may get a record twice.
	Sinks []AuditSink `yaml:"sinks"`
}

// AuditSink is somewhere that the audit log is delivered to. It has one of the
// two settings.
type AuditSink struct {
	// File to append to, one JSON object on each line. It may be moved away at
	// any time.
	File string `yaml:"file" example:"/var/log/entente/audit.jsonl"`
	// Syslog receiver (RFC 5424): udp://host:port, tcp://host:port or
	// unix:///dev/log. Syslog does not confirm what it gets; a file does.
	Syslog string `yaml:"syslog" example:"tcp://siem.example.org:601"`
}

// Registration is about new accounts. With everything off, administrators
// make accounts.
type Registration struct {
	// Let everyone register without any proof (m.login.dummy). Only for tests
	// and closed networks.
	Open bool `yaml:"open"`
	// Tokens that let whoever holds one register.
	Tokens []Secret `yaml:"tokens"`
	// File of such tokens, one on each line.
	TokensFile string `yaml:"tokens_file" example:"/run/secrets/entente-tokens"`
	// Secret for POST /_synapse/admin/v1/register, the route that the field's
	// tools use to make accounts. Empty turns the route off.
	SharedSecret Secret `yaml:"shared_secret"`
	// File that holds the shared secret.
	SharedSecretFile string `yaml:"shared_secret_file" example:"/run/secrets/entente-registration"`
	// Let guests in.
	Guests bool `yaml:"guests"`
}

// Passwords is how passwords are hashed.
type Passwords struct {
	// Memory for one hash.
	Memory Size `yaml:"memory"`
	// Passes over the memory.
	Passes int `yaml:"passes"`
	// The shortest password, in characters.
	MinLength int `yaml:"min_length"`
}

// Sessions is how long a login lasts.
type Sessions struct {
	// Give refresh tokens to clients that ask for them.
	Refresh bool `yaml:"refresh"`
	// Life of an access token that comes with a refresh token.
	AccessTokenLifetime Duration `yaml:"access_token_lifetime"`
	// Life of a refresh token that is not used; 0 is for ever.
	RefreshTokenLifetime Duration `yaml:"refresh_token_lifetime"`
	// Take access tokens from the query string too, as clients of long ago
	// send them. Logs of proxies will show them.
	QueryAccessToken bool `yaml:"query_access_token"`
}

// Presence is about who sees who is online.
type Presence struct {
	// Show it among the users of this server. See federation.presence for
	// other servers.
	Local bool `yaml:"local"`
}

// PublicRooms is the directory of public rooms.
type PublicRooms struct {
	// Who may publish a room: everyone, admins or nobody.
	Publish string `yaml:"publish" enum:"everyone,admins,nobody"`
	// Whether new public rooms are published without being asked to.
	DefaultPublished bool `yaml:"default_published"`
	// Show the directory without a login.
	Anonymous bool `yaml:"anonymous"`
	// Show the directory to other servers.
	Federation bool `yaml:"federation"`
}

// RateLimits bound how often one caller may call.
type RateLimits struct {
	// Turn all of them off with false.
	Enabled bool `yaml:"enabled"`
	// Logins, by address.
	Login Rate `yaml:"login"`
	// New accounts, by address.
	Register Rate `yaml:"register"`
	// Whatever only reads.
	Read Rate `yaml:"read"`
	// Whatever else writes.
	Write Rate `yaml:"write"`
	// Messages and state.
	Message Rate `yaml:"message"`
	// New rooms.
	Create Rate `yaml:"create"`
	// Joining and knocking.
	Join Rate `yaml:"join"`
	// Invitations.
	Invite Rate `yaml:"invite"`
	// Searches in directories of rooms and users.
	Directory Rate `yaml:"directory"`
	// Up- and downloads.
	Media Rate `yaml:"media"`
	// Requests of one other server.
	Federation Rate `yaml:"federation"`
}

// Rate allows a burst at once and so many a second on average.
type Rate struct {
	// Calls a second on average; 0 is no limit.
	PerSecond float64 `yaml:"per_second"`
	// Calls at once.
	Burst int `yaml:"burst"`
}

// Limits bound single requests. The size of an event, 65,536 bytes, is fixed
// by the Matrix specification.
type Limits struct {
	// Body of a request, uploads aside.
	RequestBody Size `yaml:"request_body"`
	// Nesting of JSON in a request.
	JSONDepth int `yaml:"json_depth"`
	// The longest that a sync may wait for news.
	SyncTimeout Duration `yaml:"sync_timeout"`
	// Body of an upload.
	Upload Size `yaml:"upload"`
}

// AppServices are bridges and bots that registered.
type AppServices struct {
	// Folder of registrations, one YAML file each.
	Folder string `yaml:"folder" example:"/etc/entente/appservices"`
	// The registrations that were read.
	Registrations []AppService `yaml:"-"`
}

// Logging is the server's log.
type Logging struct {
	// The least that is logged: debug, info, warn or error.
	Level string `yaml:"level" enum:"debug,info,warn,error"`
	// text for people, json for machines.
	Format string `yaml:"format" enum:"text,json"`
}
