package config

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// checker finds what is wrong with settings that could be read.
type checker struct {
	*decoder
	cfg *Config
	dir string // of the configuration file
}

func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// resolve makes paths absolute to the file's folder, fills in the paths that
// follow from data_dir and reads secrets from their files.
func (c *checker) resolve() {
	cfg := c.cfg
	cfg.DataDir = c.path(cfg.DataDir)
	def := func(path *string, name string) {
		if *path == "" {
			*path = filepath.Join(cfg.DataDir, name)
			return
		}
		*path = c.path(*path)
	}
	def(&cfg.Signing.KeyFile, "signing.key")
	if cfg.Database.Postgres == "" && cfg.Database.PostgresFile == "" {
		def(&cfg.Database.SQLite, "entente.db")
	}
	for i := range cfg.Listeners {
		l := &cfg.Listeners[i]
		l.TLS.CertFile, l.TLS.KeyFile = c.path(l.TLS.CertFile), c.path(l.TLS.KeyFile)
		def(&l.ACME.Cache, "acme")
		if len(l.Resources) == 0 {
			l.Resources = []string{ResourceClient, ResourceFederation}
		}
	}
	for i := range cfg.Federation.CAFiles {
		cfg.Federation.CAFiles[i] = c.path(cfg.Federation.CAFiles[i])
	}
	for i := range cfg.Audit.Sinks {
		cfg.Audit.Sinks[i].File = c.path(cfg.Audit.Sinks[i].File)
	}
	cfg.AppServices.Folder = c.path(cfg.AppServices.Folder)
	c.secrets(reflect.ValueOf(cfg).Elem(), "")
	c.registrationTokens()
}

// path makes a path relative to the configuration file's folder.
func (c *checker) path(p string) string {
	if p == "" || filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(c.dir, p)
}

// secrets fills each secret that has a file of its own: a field X of type
// Secret with a field XFile beside it.
func (c *checker) secrets(v reflect.Value, path string) {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name := yamlName(field)
		if field.Type.Kind() == reflect.Struct && name != "" && field.Type != reflect.TypeFor[Duration]() {
			c.secrets(v.Field(i), join(path, name))
		}
		if field.Type != reflect.TypeFor[Secret]() {
			continue
		}
		file := v.FieldByName(field.Name + "File")
		if !file.IsValid() || file.String() == "" {
			continue
		}
		at := join(path, name)
		if v.Field(i).String() != "" {
			c.wrong(at, "the secret is given both here and by "+name+"_file", "keep one of them")
			continue
		}
		file.SetString(c.path(file.String()))
		v.Field(i).SetString(c.secretFile(at+"_file", file.String()))
	}
}

// secretFile is the text of a secret's file without the newline at its end.
func (c *checker) secretFile(at, path string) string {
	text, err := readFile(path)
	if err != nil {
		c.wrong(at, "the file cannot be read: "+err.Error(), "make the file, readable by the server's user only")
		return ""
	}
	secret := strings.TrimRight(string(text), "\r\n")
	if strings.TrimSpace(secret) == "" {
		c.wrong(at, "the file is empty", "put the secret in it")
	}
	return secret
}

func (c *checker) registrationTokens() {
	r := &c.cfg.Registration
	if r.TokensFile == "" {
		return
	}
	r.TokensFile = c.path(r.TokensFile)
	for line := range strings.Lines(c.secretFile("registration.tokens_file", r.TokensFile)) {
		if token := strings.TrimSpace(line); token != "" {
			r.Tokens = append(r.Tokens, Secret(token))
		}
	}
}

// check goes through the sections.
func (c *checker) check() {
	c.identity()
	c.signing()
	c.listeners()
	c.wellKnown()
	c.storage()
	c.federation()
	c.audit()
	c.accounts()
	c.limits()
	if folder := c.cfg.AppServices.Folder; folder != "" {
		services, mistakes, err := appServices(folder)
		if err != nil {
			c.wrong("appservices.folder", "the folder cannot be read: "+err.Error(), "make the folder, or remove the setting")
		}
		c.cfg.AppServices.Registrations = services
		c.mistakes = append(c.mistakes, mistakes...)
	}
}

func (c *checker) identity() {
	name := c.cfg.ServerName
	switch {
	case name == "":
		c.wrong("server_name", "the server has no name", "add server_name: example.org, the domain that user IDs end in")
	case !validServerName(name):
		c.wrong("server_name", fmt.Sprintf("%q is not a server name", name), "write a host name, with a port only if it is part of the name, and without https://")
	case len(name) > 230:
		c.wrong("server_name", "the name is longer than 230 characters", "choose a shorter name")
	case name != strings.ToLower(name):
		c.wrong("server_name", "the name has upper-case letters", "write "+strings.ToLower(name))
	}
	if c.cfg.DataDir == "" {
		c.wrong("data_dir", "the folder is empty", "remove the setting, or name a folder")
	}
}

func (c *checker) signing() {
	// A first start makes the key; one that is there must be usable.
	if _, err := ReadSigningKey(c.cfg.Signing.KeyFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.wrong("signing.key_file", "the signing key cannot be used: "+err.Error(), "correct the file or its permissions")
	}
	seen := map[string]bool{}
	for i, key := range c.cfg.Signing.OldKeys {
		at := index("signing.old_keys", i)
		algorithm, version, _ := strings.Cut(key.ID, ":")
		if algorithm != "ed25519" || !keyVersion.MatchString(version) {
			c.wrong(at+".id", fmt.Sprintf("%q is not a key ID", key.ID), "write it as ed25519:name")
		}
		if seen[key.ID] {
			c.wrong(at+".id", "the key is listed twice", "keep one of them")
		}
		seen[key.ID] = true
		if raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(key.Key, "=")); err != nil || len(raw) != 32 {
			c.wrong(at+".key", "not a public key", "write the 32 bytes of the public key in unpadded base64")
		}
		if key.Expired.IsZero() {
			c.wrong(at+".expired", "the time is missing", "say when the key was last signed with, as 2026-01-31T00:00:00Z")
		}
	}
	c.atLeast("signing.validity", c.cfg.Signing.Validity >= Duration(60e9), "less than a minute", "write 1m or more; 24h is usual")
}

func (c *checker) atLeast(path string, ok bool, problem, remedy string) {
	if !ok {
		c.wrong(path, problem, remedy)
	}
}

func (c *checker) listeners() {
	taken := map[string]string{}
	for i, l := range c.cfg.Listeners {
		at := index("listeners", i)
		if len(l.Addresses) == 0 {
			c.wrong(at+".addresses", "the listener has no address", `add addresses: ["127.0.0.1:8008"]`)
		}
		for j, address := range l.Addresses {
			c.address(index(at+".addresses", j), address, taken)
		}
		c.tls(at, l)
		for j, proxy := range l.TrustedProxies {
			c.addressRange(index(at+".trusted_proxies", j), proxy)
		}
	}
	if address := c.cfg.Admin.Address; address != "" && address != AdminOff {
		c.address("admin.address", address, taken)
	}
}

// address checks a host:port to listen on; port 0 may repeat.
func (c *checker) address(at, address string, taken map[string]string) {
	host, port, err := net.SplitHostPort(address)
	number, badPort := strconv.ParseUint(port, 10, 16)
	if err != nil || badPort != nil {
		c.wrong(at, fmt.Sprintf("%q is not host:port", address), `write it as "127.0.0.1:8008", or ":8008" for every interface`)
		return
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && !validServerName(host) {
		c.wrong(at, fmt.Sprintf("%q is neither an IP address nor a host name", host), "correct it")
		return
	}
	if other, twice := taken[address]; twice && number != 0 {
		c.wrong(at, "the address is the same as in "+other, "give each listener an address of its own")
		return
	}
	taken[address] = at
}

func (c *checker) tls(at string, l Listener) {
	if (l.TLS.CertFile == "") != (l.TLS.KeyFile == "") {
		c.wrong(at+".tls", "a certificate needs both cert_file and key_file", "add the other one")
	}
	if l.TLS.CertFile != "" && len(l.ACME.Domains) > 0 {
		c.wrong(at+".acme", "the listener has a certificate and ACME", "keep either tls or acme")
	}
	for name, file := range map[string]string{"cert_file": l.TLS.CertFile, "key_file": l.TLS.KeyFile} {
		if file != "" {
			c.pemFile(at+".tls."+name, file)
		}
	}
	for i, domain := range l.ACME.Domains {
		if !validServerName(domain) || strings.Contains(domain, ":") {
			c.wrong(index(at+".acme.domains", i), fmt.Sprintf("%q is not a host name", domain), "write it as matrix.example.org")
		}
	}
	if d := l.ACME.Directory; d != "" && !strings.HasPrefix(d, "https://") {
		c.wrong(at+".acme.directory", "not an https URL", "write the URL of the authority's directory")
	}
	if e := l.ACME.Email; e != "" && !strings.Contains(e, "@") {
		c.wrong(at+".acme.email", "not an email address", "correct it")
	}
}

// pemFile checks that a file can be read and holds PEM.
func (c *checker) pemFile(at, path string) {
	text, err := readFile(path)
	if err != nil {
		c.wrong(at, "the file cannot be read: "+err.Error(), "correct the path, or make the file readable by the server's user")
	} else if block, _ := pem.Decode(text); block == nil {
		c.wrong(at, "the file holds no PEM", "name a file with a line -----BEGIN")
	}
}

// addressRange checks an address or a range of addresses.
func (c *checker) addressRange(at, text string) {
	if _, err := ParseRange(text); err != nil {
		c.wrong(at, fmt.Sprintf("%q is not an address or a range", text), "write it as 10.1.2.3 or 10.0.0.0/8")
	}
}

// ParseRange parses an address or a range of addresses as settings hold them.
func ParseRange(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return prefix.Masked(), nil
}

func (c *checker) limits() {
	l := c.cfg.Limits
	c.atLeast("limits.request_body", l.RequestBody >= 128<<10, "less than two events", "write 128 KiB or more")
	c.atLeast("limits.json_depth", l.JSONDepth >= 10 && l.JSONDepth <= 1000, "not from 10 to 1000", "100 is usual")
	c.atLeast("limits.sync_timeout", l.SyncTimeout.Std() >= 1e9 && l.SyncTimeout.Std() <= 10*60e9, "not from 1s to 10m", "2m is usual")
	c.atLeast("limits.upload", l.Upload >= 0, "negative", "50 MiB is usual")
	rates := reflect.ValueOf(c.cfg.RateLimits)
	for i := range rates.NumField() {
		rate, ok := rates.Field(i).Interface().(Rate)
		if !ok {
			continue
		}
		at := "rate_limits." + yamlName(rates.Type().Field(i))
		c.atLeast(at+".per_second", rate.PerSecond >= 0 && rate.PerSecond <= 1e6, "not from 0 to 1000000", "write how many calls a second are fine; 0 is no limit")
		c.atLeast(at+".burst", rate.Burst >= 1 || rate.PerSecond == 0 && rate.Burst == 0, "less than 1", "write how many calls at once are fine")
	}
}

func (c *checker) accounts() {
	p := c.cfg.Passwords
	c.atLeast("passwords.memory", p.Memory >= 64<<10 && p.Memory <= 4<<30, "not from 64 KiB to 4 GiB", "32 MiB is usual")
	c.atLeast("passwords.passes", p.Passes >= 1 && p.Passes <= 100, "not from 1 to 100", "2 is usual")
	c.atLeast("passwords.min_length", p.MinLength >= 1 && p.MinLength <= 128, "not from 1 to 128", "8 is usual")
	c.atLeast("sessions.access_token_lifetime", c.cfg.Sessions.AccessTokenLifetime >= Duration(10e9), "less than 10 seconds", "1h is usual")
	for i, token := range c.cfg.Registration.Tokens {
		if !validToken(token.Reveal()) {
			c.wrong(index("registration.tokens", i), "not a registration token", "use at most 64 letters, digits, dots, underscores, tildes and hyphens")
		}
	}
}

// validToken is the grammar of registration tokens.
// Spec: client-server-api/#token-authenticated-registration
func validToken(token string) bool {
	if token == "" || len(token) > 64 || !utf8.ValidString(token) {
		return false
	}
	for _, r := range token {
		if !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~-", r) {
			return false
		}
	}
	return true
}
