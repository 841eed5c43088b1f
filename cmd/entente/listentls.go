package main

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"entente/config"
)

// tlsConfig is how a listener speaks TLS, or nil for plain HTTP.
func tlsConfig(cfg config.Listener) (*tls.Config, error) {
	switch {
	case len(cfg.ACME.Domains) > 0:
		manager := &autocert.Manager{
			Prompt:     autocert.AcceptTOS,
			Cache:      autocert.DirCache(cfg.ACME.Cache),
			HostPolicy: autocert.HostWhitelist(cfg.ACME.Domains...),
			Email:      cfg.ACME.Email,
		}
		if cfg.ACME.Directory != "" {
			manager.Client = &acme.Client{DirectoryURL: cfg.ACME.Directory}
		}
		secure := manager.TLSConfig()
		secure.MinVersion = tls.VersionTLS12
		return secure, nil
	case cfg.TLS.CertFile != "":
		files := &certFiles{cert: cfg.TLS.CertFile, key: cfg.TLS.KeyFile, now: time.Now}
		if _, err := files.get(nil); err != nil {
			return nil, err
		}
		return &tls.Config{
			MinVersion:     tls.VersionTLS12,
			NextProtos:     []string{"h2", "http/1.1"},
			GetCertificate: files.get,
		}, nil
	}
	return nil, nil
}

// certCheck is how often the files of a certificate are looked at.
const certCheck = 30 * time.Second

// certFiles is a certificate that is read again when its files change, so
// that a renewed certificate needs no restart.
type certFiles struct {
	cert, key string
	now       func() time.Time

	mu      sync.Mutex
	loaded  *tls.Certificate // guarded by mu
	changed time.Time        // of the files when they were loaded; guarded by mu
	checked time.Time        // when the files were last looked at; guarded by mu
}

// get is the certificate. If new files cannot be loaded, half-written perhaps,
// the old certificate goes on serving.
func (c *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if c.loaded != nil && now.Sub(c.checked) < certCheck {
		return c.loaded, nil
	}
	c.checked = now
	changed, err := newest(c.cert, c.key)
	if err == nil && c.loaded != nil && changed.Equal(c.changed) {
		return c.loaded, nil
	}
	if err == nil {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(c.cert, c.key); err == nil {
			c.loaded, c.changed = &pair, changed
		}
	}
	if c.loaded != nil {
		return c.loaded, nil
	}
	return nil, fmt.Errorf("load the certificate: %w", err)
}

// newest is when the last of the files changed.
func newest(paths ...string) (time.Time, error) {
	var last time.Time
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return last, err
		}
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
	}
	return last, nil
}
