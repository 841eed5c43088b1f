package config

import (
	"fmt"
	"testing"
	"time"
)

func sprint(format string, args ...any) string { return fmt.Sprintf(format, args...) }

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "30s": 30 * time.Second, "5m": 5 * time.Minute, "1h30m": 90 * time.Minute, "7d": 7 * day, "2w": 2 * week,
		"1w 2d 3h": week + 2*day + 3*time.Hour, "1d12h": 36 * time.Hour, "250ms": 250 * time.Millisecond,
	} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.Std() != want {
			t.Errorf("%q is %v, %v", text, d, err)
		}
		var back Duration
		if err := back.UnmarshalText([]byte(d.String())); err != nil || back != d {
			t.Errorf("%q is written as %q, which is %v, %v", text, d, back, err)
		}
	}
	for _, text := range []string{"", "5", "d", "-5s", "5 years", "1d-1h", "99999999999999999999w", "d5", "NaN", "65535w 9999999h"} {
		var d Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q passes as %v", text, d)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{
		"0": 0, "512": 512, "512 B": 512, "64 KiB": 64 << 10, "64KiB": 64 << 10, "1.5 MiB": 3 << 19, "20 MB": 20_000_000, "2 GiB": 2 << 30, "1 TB": 1e12,
	} {
		var z Size
		if err := z.UnmarshalText([]byte(text)); err != nil || z != want {
			t.Errorf("%q is %d, %v", text, z, err)
		}
		var back Size
		if err := back.UnmarshalText([]byte(z.String())); err != nil || back != z {
			t.Errorf("%q is written as %q, which is %d, %v", text, z, back, err)
		}
	}
	for _, text := range []string{"", "KiB", "-1", "many", "1 XiB", "NaN", "Inf", "99999999 TiB"} {
		var z Size
		if err := z.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q passes as %d", text, z)
		}
	}
}

func TestServerNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a.example": true, "localhost": true, "a.example:8448": true, "1.2.3.4": true, "1.2.3.4:1": true, "[::1]": true, "[::1]:8448": true,
		"": false, ":8448": false, "a b": false, "a/b": false, "a:": false, "a:b": false, "a:1:2": false, "[::1": false, "[1.2.3.4]": false, "[::1]x": false,
		"[::1]:x": false, "a:99999": false, "ä.example": false,
	} {
		if got := validServerName(name); got != want {
			t.Errorf("validServerName(%q) is %v", name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	cfg := Default()
	cfg.ServerName = "a.example"
	example, err := Example(cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, seed := range []string{"server_name: a", "a: &x [*x]", "<<: {a: b}", "? a\n: b", "- - -", "!!binary a", "{", "a: |\n  b", "listeners: [{}]", "\t"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Parse("/nonexistent/entente.yaml", []byte(text))
		if (cfg == nil) == (err == nil) {
			t.Errorf("%q gave %v and %v", text, cfg, err)
		}
	})
}
