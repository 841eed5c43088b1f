package main

import (
	"fmt"
	"time"

	"entente/config"
	"entente/governance/audit"
)

// auditTimeout is how long the last refusals may take into the audit log.
const auditTimeout = 5 * time.Second

// openExporter builds what delivers the audit log, if it goes anywhere.
func (s *server) openExporter() error {
	sinks, err := newSinks(s.cfg.Audit)
	if err != nil || len(sinks) == 0 {
		return err
	}
	s.exporter = audit.NewExporter(audit.ExportOptions{
		DB: s.db, ServerName: s.cfg.ServerName, Sinks: sinks, Sign: s.own.Signer, Log: s.log,
	})
	return nil
}

// newSinks are the configured sinks.
func newSinks(cfg config.Audit) ([]audit.Sink, error) {
	var sinks []audit.Sink
	for _, c := range cfg.Sinks {
		if c.File != "" {
			sinks = append(sinks, audit.NewFileSink(c.File))
			continue
		}
		sink, err := audit.NewSyslogSink(c.Syslog)
		if err != nil {
			return nil, fmt.Errorf("audit.sinks: %w", err)
		}
		sinks = append(sinks, sink)
	}
	return sinks, nil
}
