package main

import (
	"io"
	"log/slog"

	"entente/config"
	"entente/internal/web"
)

// newLogger is the server's log, as configured.
func newLogger(cfg config.Logging, out io.Writer) *slog.Logger {
	level := slog.LevelInfo
	// The configuration has been checked: the level is one of those known.
	_ = level.UnmarshalText([]byte(cfg.Level))
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(out, opts))
	}
	return slog.New(slog.NewTextHandler(out, opts))
}

// rateLimits are the configured limits, or none if they are off.
func rateLimits(cfg config.RateLimits) web.Limits {
	if !cfg.Enabled {
		return nil
	}
	limits := web.Limits{}
	for class, rate := range map[web.Class]config.Rate{
		web.RateLogin: cfg.Login, web.RateRegister: cfg.Register, web.RateRead: cfg.Read, web.RateWrite: cfg.Write,
		web.RateMessage: cfg.Message, web.RateCreate: cfg.Create, web.RateJoin: cfg.Join, web.RateInvite: cfg.Invite,
		web.RateDirectory: cfg.Directory, web.RateMedia: cfg.Media, web.RateFederation: cfg.Federation,
	} {
		limits[class] = web.Rate{PerSecond: rate.PerSecond, Burst: rate.Burst}
	}
	return limits
}

// trustedProxies are the configured proxies of a listener.
func trustedProxies(cfg config.Listener) (web.Proxies, error) {
	proxies := make(web.Proxies, 0, len(cfg.TrustedProxies))
	for _, text := range cfg.TrustedProxies {
		prefix, err := config.ParseRange(text)
		if err != nil {
			return nil, err
		}
		proxies = append(proxies, prefix)
	}
	return proxies, nil
}
