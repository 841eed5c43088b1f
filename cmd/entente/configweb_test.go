package main

import (
	"bytes"
	"strings"
	"testing"

	"entente/config"
	"entente/internal/web"
)

func TestTheLogIsAsConfigured(t *testing.T) {
	for _, tc := range []struct {
		cfg   config.Logging
		lines int
		want  string
	}{
		{config.Logging{Level: "debug", Format: "text"}, 3, "level=DEBUG"},
		{config.Logging{Level: "info", Format: "json"}, 2, `"level":"INFO"`},
		{config.Logging{Level: "error", Format: "text"}, 1, "level=ERROR"},
	} {
		var out bytes.Buffer
		log := newLogger(tc.cfg, &out)
		log.Debug("a")
		log.Info("b")
		log.Error("c")
		if strings.Count(out.String(), "\n") != tc.lines || !strings.Contains(out.String(), tc.want) {
			t.Errorf("%+v logs %s", tc.cfg, out.String())
		}
	}
}

func TestEveryRateClassHasASetting(t *testing.T) {
	limits := rateLimits(config.Default().RateLimits)
	for class := web.RateNone + 1; class.String() != "unknown"; class++ {
		if limits[class].PerSecond <= 0 {
			t.Errorf("the class %s has no limit by default", class)
		}
	}
	if rateLimits(config.RateLimits{}) != nil {
		t.Error("limits that are off limit")
	}
}

func TestTrustedProxies(t *testing.T) {
	got, err := trustedProxies(config.Listener{TrustedProxies: []string{"127.0.0.1", "10.1.2.3/8", "::1"}})
	if err != nil || len(got) != 3 || got[0].String() != "127.0.0.1/32" || got[1].String() != "10.0.0.0/8" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := trustedProxies(config.Listener{TrustedProxies: []string{"x"}}); err == nil {
		t.Error("nonsense passes")
	}
}
