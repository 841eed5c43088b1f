package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"entente/config"
)

// How patient a listener is. Reading bodies and writing large answers are
// bounded by package web, which knows what they are; a ReadTimeout here would
// end long polls.
const (
	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	writeTimeout   = 15 * time.Minute
	maxHeaderBytes = 64 << 10
)

// How a listener stops: it takes no more connections at once, lets requests
// finish, ends the contexts of long polls after a while, and then closes.
const (
	drainTime = 3 * time.Second
	closeTime = 10 * time.Second
)

// listener is a set of bound addresses and the server behind them.
type listener struct {
	server  *http.Server
	sockets []net.Listener
	secure  bool
	drain   time.Duration      // drainTime
	cancel  context.CancelFunc // ends the contexts of all requests
}

// listen binds the addresses of a configured listener, so that what is wrong
// with them shows before anything is served. Run serves.
func listen(ctx context.Context, cfg config.Listener, handler http.Handler, log *slog.Logger) (*listener, error) {
	secure, err := tlsConfig(cfg)
	if err != nil {
		return nil, err
	}
	return bind(ctx, cfg.Addresses, secure, handler, log)
}

func bind(ctx context.Context, addresses []string, secure *tls.Config, handler http.Handler, log *slog.Logger) (*listener, error) {
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &listener{secure: secure != nil, drain: drainTime, cancel: cancel}
	l.server = &http.Server{
		Handler:           handler,
		TLSConfig:         secure,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		BaseContext:       func(net.Listener) context.Context { return base },
		// What it logs are the failed handshakes of strangers.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	for _, address := range addresses {
		socket, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: %w", address, err), l.close())
		}
		l.sockets = append(l.sockets, socket)
	}
	return l, nil
}

// Addrs are the bound addresses, with the ports that port 0 became.
func (l *listener) Addrs() []net.Addr {
	addrs := make([]net.Addr, len(l.sockets))
	for i, socket := range l.sockets {
		addrs[i] = socket.Addr()
	}
	return addrs
}

// Run serves until ctx ends and what was begun is finished.
func (l *listener) Run(ctx context.Context) error {
	defer l.cancel()
	group, ctx := errgroup.WithContext(ctx)
	for _, socket := range l.sockets {
		group.Go(func() error {
			err := l.serve(socket)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			return fmt.Errorf("serve %s: %w", socket.Addr(), err)
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		return l.stop(ctx)
	})
	return group.Wait()
}

func (l *listener) serve(socket net.Listener) error {
	if l.secure {
		return l.server.ServeTLS(socket, "", "")
	}
	return l.server.Serve(socket)
}

// stop ends the listener. The context has ended already; it is taken for its
// values.
func (l *listener) stop(ctx context.Context) error {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	polls := time.AfterFunc(l.drain, l.cancel)
	defer polls.Stop()
	if err := l.server.Shutdown(grace); err != nil {
		return l.server.Close()
	}
	return nil
}

// close gives the addresses back without having served.
func (l *listener) close() error {
	l.cancel()
	var failed []error
	for _, socket := range l.sockets {
		failed = append(failed, socket.Close())
	}
	return errors.Join(failed...)
}
