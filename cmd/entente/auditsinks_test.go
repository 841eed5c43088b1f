package main

import (
	"testing"

	"entente/config"
)

func TestSinksAsConfigured(t *testing.T) {
	sinks, err := newSinks(config.Audit{Sinks: []config.AuditSink{{File: "/var/log/audit"}, {Syslog: "unix:///dev/log"}}})
	if err != nil || len(sinks) != 2 || sinks[0].Name() != "file:/var/log/audit" || sinks[1].Name() != "syslog:unix:///dev/log" {
		t.Errorf("sinks are %v, error %v", sinks, err)
	}
	if _, err := newSinks(config.Audit{Sinks: []config.AuditSink{{Syslog: "udp://"}}}); err == nil {
		t.Error("a receiver without an address is taken")
	}
}
