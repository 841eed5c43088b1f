package web

import (
	"log/slog"
	"net/http"
	"time"
)

// record writes the one log record of a request: what was called, by whom,
// with what outcome. It never holds a token, a path with identifiers in it, a
// query string or content.
func (rt *Router) record(c *Call, took time.Duration) {
	level := slog.LevelInfo
	if c.status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	ctx := c.r.Context()
	if !rt.opts.Logger.Enabled(ctx, level) {
		return
	}
	var fields [12]slog.Attr
	attrs := append(fields[:0],
		slog.String("id", rt.requestID(c.sequence)),
		slog.String("method", c.r.Method),
		slog.String("route", c.e.Path),
		slog.Int("status", c.status),
		slog.Float64("ms", float64(took.Microseconds())/1000),
		slog.Int("in", len(c.body)),
		slog.Int64("out", c.sent),
	)
	if c.user.User != "" {
		attrs = append(attrs, slog.String("user", string(c.user.User)))
	}
	if c.origin != "" {
		attrs = append(attrs, slog.String("origin", c.origin))
	}
	if c.remote.IsValid() {
		attrs = append(attrs, slog.Any("remote", c.remote))
	}
	if c.errcode != "" {
		attrs = append(attrs, slog.String("errcode", c.errcode))
	}
	if c.err != nil && level == slog.LevelError {
		attrs = append(attrs, slog.String("cause", c.err.Error()))
	}
	rt.opts.Logger.LogAttrs(ctx, level, "request", attrs...)
}
