package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"entente/config"
)

var quiet = slog.New(slog.DiscardHandler)

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T, dir string, serial int64) (certFile, keyFile string, pool *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AddCert(cert)
	return certFile, keyFile, pool
}

// start runs a listener until the test ends, or until stop is called.
func start(t *testing.T, cfg config.Listener, handler http.Handler) (address string, stop func() error) {
	t.Helper()
	l, err := listen(t.Context(), cfg, handler, quiet)
	if err != nil {
		t.Fatal(err)
	}
	l.drain = 10 * time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return l.Addrs()[0].String(), stop
}

var hello = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello ", r.Proto) })

func fetch(t *testing.T, client *http.Client, url string) string {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestPlainListener(t *testing.T) {
	address, _ := start(t, config.Listener{Addresses: []string{"127.0.0.1:0", "127.0.0.1:0"}}, hello)
	if got := fetch(t, http.DefaultClient, "http://"+address); got != "hello HTTP/1.1" {
		t.Errorf("got %q", got)
	}
}

func TestTLSListenerSpeaksBothVersionsOfHTTP(t *testing.T) {
	cert, key, pool := certificate(t, t.TempDir(), 1)
	address, _ := start(t, config.Listener{Addresses: []string{"127.0.0.1:0"}, TLS: config.TLS{CertFile: cert, KeyFile: key}}, hello)
	for _, second := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: second}
		want := "hello HTTP/1.1"
		if second {
			want = "hello HTTP/2.0"
		}
		if got := fetch(t, &http.Client{Transport: transport}, "https://"+address); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
		transport.CloseIdleConnections()
	}
	_, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, MaxVersion: tls.VersionTLS11})
	if err == nil {
		t.Error("TLS 1.1 is spoken")
	}
}

func TestARenewedCertificateIsTakenUp(t *testing.T) {
	dir := t.TempDir()
	cert, key, _ := certificate(t, dir, 1)
	now := time.Unix(1e9, 0)
	files := &certFiles{cert: cert, key: key, now: func() time.Time { return now }}
	serial := func() int64 {
		got, err := files.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return leaf.SerialNumber.Int64()
	}
	touch := func(at time.Time) {
		for _, file := range []string{cert, key} {
			if err := os.Chtimes(file, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	touch(now)
	if serial() != 1 {
		t.Fatal("the first certificate is not served")
	}
	certificate(t, dir, 2)
	touch(now.Add(time.Minute))
	if serial() != 1 {
		t.Error("the files are looked at for every handshake")
	}
	now = now.Add(time.Hour)
	if serial() != 2 {
		t.Error("the renewed certificate is not served")
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	if serial() != 2 {
		t.Error("a broken file ends the old certificate")
	}
}

func TestWhatIsWrongWithAListenerShowsBeforeItServes(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for name, cfg := range map[string]config.Listener{
		"an address in use": {Addresses: []string{"127.0.0.1:0", taken.Addr().String()}},
		"no such host":      {Addresses: []string{"256.0.0.1:0"}},
		"no certificate":    {Addresses: []string{"127.0.0.1:0"}, TLS: config.TLS{CertFile: "/nonexistent", KeyFile: "/nonexistent"}},
	} {
		if _, err := listen(t.Context(), cfg, hello, quiet); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestACMEListenerAsksForItsOwnDomainsOnly(t *testing.T) {
	secure, err := tlsConfig(config.Listener{ACME: config.ACME{Domains: []string{"a.example"}, Cache: t.TempDir(), Directory: "https://127.0.0.1:1/directory"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secure.GetCertificate(&tls.ClientHelloInfo{ServerName: "b.example"}); err == nil || !strings.Contains(err.Error(), "not configured") {
		t.Errorf("another name gives %v", err)
	}
	if secure.MinVersion != tls.VersionTLS12 {
		t.Error("old versions of TLS are spoken")
	}
}

func TestStoppingLetsRequestsFinish(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	address, stop := start(t, config.Listener{Addresses: []string{"127.0.0.1:0"}}, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(begun)
		<-finish
		fmt.Fprint(w, "finished")
	}))
	answer := make(chan string, 1)
	go func() {
		response, err := http.Get("http://" + address)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		answer <- string(body)
	}()
	<-begun
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	close(finish)
	if got := <-answer; got != "finished" {
		t.Errorf("the request got %q", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", address); err == nil {
		t.Error("the address is still served")
	}
}

func TestStoppingEndsLongPolls(t *testing.T) {
	begun := make(chan struct{})
	address, stop := start(t, config.Listener{Addresses: []string{"127.0.0.1:0"}}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		fmt.Fprint(w, "nothing new")
	}))
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := stop(); err != nil {
		t.Error(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); string(body) != "nothing new" {
		t.Errorf("the poll got %q, %v", body, err)
	}
}

func TestAdminListener(t *testing.T) {
	reg := prometheus.NewRegistry()
	reg.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "entente_test", Help: "A test."}))
	var broken error
	handler := adminHandler(config.Admin{Pprof: true}, reg, func(context.Context) error { return broken })
	ask := func(path string) (int, string) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code, w.Body.String()
	}
	for path, want := range map[string]string{"/health": "ok\n", "/ready": "ready\n", "/metrics": "entente_test 0", "/debug/pprof/cmdline": ""} {
		if code, body := ask(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	broken = errors.New("the database does not answer")
	if code, body := ask("/ready"); code != 503 || body != "the database does not answer\n" {
		t.Errorf("not ready: %d %q", code, body)
	}
	if code, _ := ask("/health"); code != 200 {
		t.Errorf("alive but not ready: %d", code)
	}
	handler = adminHandler(config.Admin{}, reg, func(context.Context) error { return nil })
	if code, _ := ask("/debug/pprof/cmdline"); code != 404 {
		t.Errorf("profiles that are off: %d", code)
	}
}
