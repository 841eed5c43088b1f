package inbound_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"entente/federation/client"
	"entente/federation/inbound"
	"entente/federation/keys"
	"entente/federation/resolve"
	"entente/federation/sender"
	"entente/internal/spectest"
	"entente/internal/web"
	"entente/roomserver"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"

	"github.com/tidwall/gjson"
	"maunium.net/go/mautrix/id"
)

// world is agencies on loopback that trust one authority.
type world struct {
	testing.TB
	options func() storage.Options
	root    *x509.Certificate
	rootKey *ecdsa.PrivateKey
	roots   *x509.CertPool

	mu    sync.Mutex
	addrs map[string]string // listeners by server name
	down  map[string]bool   // unreachable
}

// each runs fn on every kind of database.
func each(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	for name, options := range map[string]func(testing.TB) storage.Options{"sqlite": storagetest.SQLite, "postgres": storagetest.Postgres} {
		t.Run(name, func(t *testing.T) { fn(t, newWorld(t, func() storage.Options { return options(t) })) })
	}
}

func newWorld(t testing.TB, options func() storage.Options) *world {
	w := &world{TB: t, options: options, roots: x509.NewCertPool(), addrs: map[string]string{}, down: map[string]bool{}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w.rootKey = key
	w.root = w.certificate(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, nil, key)
	w.roots.AddCert(w.root)
	return w
}

func (w *world) certificate(template, parent *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	template.SerialNumber = big.NewInt(1)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent = template
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), w.rootKey)
	if err != nil {
		w.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		w.Fatal(err)
	}
	return cert
}

// listen serves under a name.
func (w *world) listen(name string, handler http.Handler) {
	w.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	cert := w.certificate(&x509.Certificate{DNSNames: []string{name}}, w.root, key)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	server.StartTLS()
	w.Cleanup(server.Close)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addrs[name] = server.Listener.Addr().String()
}

func (w *world) setDown(name string, down bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[name] = down
}

// dial connects to a server name with the port 1.
func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	to, down := w.addrs[name], w.down[name]
	w.mu.Unlock()
	if to == "" || down {
		return nil, errors.New("connection refused")
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", to)
}

func (w *world) own(name string) *keys.Own {
	w.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		w.Fatal(err)
	}
	own, err := keys.NewOwn(keys.OwnOptions{Name: name, Keys: []keys.OwnKey{{ID: "ed25519:1", Private: key}}})
	if err != nil {
		w.Fatal(err)
	}
	return own
}

func (w *world) client(own *keys.Own) *client.Client {
	overrides := map[string]resolve.Override{}
	for _, name := range []string{"a.test", "b.test", "c.test", "peer.test"} {
		overrides[name] = resolve.Override{Addr: name + ":1"}
	}
	c := client.New(client.Options{
		Signer: own.Signer, Resolver: resolve.New(resolve.Options{Transport: resolve.NewTransport(w.dial, w.roots), DNS: noDNS{}, Overrides: overrides}), Dial: w.dial, Roots: w.roots, Timeout: 20 * time.Second,
	})
	w.Cleanup(c.Close)
	return c
}

// noDNS has no records.
type noDNS struct{}

func (noDNS) LookupSRV(context.Context, string, string, string) (string, []*net.SRV, error) {
	return "", nil, &net.DNSError{Err: "no such host", IsNotFound: true}
}

// agency is a whole server, as far as peers are concerned.
type agency struct {
	*world
	name   string
	db     *storage.DB
	own    *keys.Own
	keys   *keys.Ring
	peers  *client.Client
	rooms  *roomserver.Server
	api    *inbound.Server
	sender *sender.Sender

	mu   sync.Mutex
	cond *sync.Cond
	edus []string // what the hooks were given
}

var specification = sync.OnceValues(func() (*spectest.Spec, error) { return spectest.Open(os.Getenv(spectest.EnvDir)) })

// agency starts a server.
func (w *world) agency(name string, change func(*inbound.Options)) *agency {
	w.Helper()
	o := w.options()
	o.ServerName = name
	a := &agency{world: w, name: name, db: storagetest.Open(w, o), own: w.own(name)}
	a.cond = sync.NewCond(&a.mu)
	a.peers = w.client(a.own)
	ring := keys.New(keys.Options{Own: a.own, Fetch: a.peers.ServerKeys})
	a.keys = ring
	a.rooms = roomserver.New(roomserver.Options{DB: a.db, ServerName: name, Sign: a.own.Signer, Peers: a.peers, Keys: ring, Log: storagetest.Logger(w)})
	a.sender = sender.New(sender.Options{DB: a.db, Send: a.peers.Send, Log: storagetest.Logger(w), FirstBackoff: 10 * time.Millisecond, LongestBackoff: 50 * time.Millisecond})
	opts := inbound.Options{
		DB: a.db, Rooms: a.rooms, Keys: ring, Contacted: a.sender.Wake, Version: "1", FirstRetry: 10 * time.Millisecond, Log: storagetest.Logger(w),
		EDUs: &inbound.EDUs{Typing: a.typing, Receipts: a.receipts, Presence: a.presence},
	}
	if change != nil {
		change(&opts)
	}
	a.api = inbound.New(opts)
	router, err := web.New(web.Options{Peers: ring.Authenticate, MaxDepth: 600}, a.api.Routes()...)
	if err != nil {
		w.Fatal(err)
	}
	var handler http.Handler = router
	if os.Getenv(spectest.EnvDir) != "" {
		spec, err := specification()
		if err != nil {
			w.Fatal(err)
		}
		checked := spec.Handler(w, router)
		handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, "/invite/") {
				// The schema wants an origin in the event that is signed, which
				// today's room versions do not have.
				router.ServeHTTP(rw, r)
				return
			}
			checked.ServeHTTP(rw, r)
		})
	}
	w.listen(name, handler)
	ctx, cancel := context.WithCancel(w.Context())
	var running sync.WaitGroup
	for _, run := range []func(context.Context) error{a.api.Run, a.sender.Run} {
		running.Go(func() {
			if err := run(ctx); err != nil {
				w.Errorf("%s: %v", name, err)
			}
		})
	}
	w.Cleanup(func() { cancel(); running.Wait() })
	a.db.Follow(func(*storage.LogEntry) { a.changed() })
	return a
}

func (a *agency) changed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cond.Broadcast()
}

func (a *agency) took(what string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.edus = append(a.edus, what)
	a.cond.Broadcast()
}

func (a *agency) typing(_ context.Context, room *storage.RoomInfo, user id.UserID, typing bool) error {
	if typing {
		a.took("typing " + string(user))
	} else {
		a.took("stopped " + string(user))
	}
	return nil
}

func (a *agency) receipts(_ context.Context, all []inbound.Receipt) error {
	for _, r := range all {
		a.took("read " + string(r.User) + " " + string(r.EventID) + " " + r.Thread)
	}
	return nil
}

func (a *agency) presence(_ context.Context, all []inbound.Presence) error {
	for _, p := range all {
		a.took(p.Presence + " " + string(p.User))
	}
	return nil
}

// until waits until something is true, which the log or a hook says may have
// become so. The condition is asked without the lock.
func (a *agency) until(what string, done func() bool) {
	a.Helper()
	start := time.Now()
	tick := time.AfterFunc(20*time.Second, a.changed)
	defer tick.Stop()
	for !done() {
		if time.Since(start) > 19*time.Second {
			a.Fatalf("%s: %s did not happen", a.name, what)
		}
		a.mu.Lock()
		soon := time.AfterFunc(5*time.Millisecond, a.changed)
		a.cond.Wait()
		soon.Stop()
		a.mu.Unlock()
	}
}

// create makes a public room of a user of the agency.
func (a *agency) create(version event.Version, state ...roomserver.StateDraft) id.RoomID {
	a.Helper()
	room, err := a.rooms.Create(a.Context(), roomserver.CreateRequest{
		Creator: a.user("alice"), Version: version, Preset: "public_chat", InitialState: state,
	})
	if err != nil {
		a.Fatal(err)
	}
	return room
}

func (a *agency) user(name string) id.UserID { return id.UserID("@" + name + ":" + a.name) }

func (a *agency) join(user string, room id.RoomID, via *agency) {
	a.Helper()
	if err := a.rooms.Join(a.Context(), roomserver.MemberRequest{Room: room, Sender: a.user(user), Target: a.user(user), Via: []string{via.name}}); err != nil {
		a.Fatalf("%s joins: %v", a.user(user), err)
	}
}

func (a *agency) say(user string, room id.RoomID, text string) id.EventID {
	a.Helper()
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	if err != nil {
		a.Fatal(err)
	}
	sent, err := a.rooms.Send(a.Context(), roomserver.SendRequest{Room: room, Draft: roomserver.Draft{Type: "m.room.message", Sender: a.user(user), Content: content}})
	if err != nil {
		a.Fatalf("%s says %s: %v", a.user(user), text, err)
	}
	return sent.EventID
}

// stored is an event as the agency has it; nil when it has not.
func (a *agency) stored(room id.RoomID, eventID id.EventID) *storage.Event {
	a.Helper()
	info, err := a.rooms.Info(a.Context(), room)
	if err != nil {
		return nil
	}
	found, err := a.db.Latest().EventsByID(a.Context(), info, []id.EventID{eventID})
	if err != nil {
		a.Fatal(err)
	}
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// hears waits until an event is there, and accepted.
func (a *agency) hears(room id.RoomID, eventID id.EventID) {
	a.Helper()
	a.until("hearing "+string(eventID), func() bool {
		e := a.stored(room, eventID)
		return e != nil && e.Status == storage.Accepted && e.Pos != 0
	})
}

func (a *agency) membership(room id.RoomID, user id.UserID) string {
	a.Helper()
	info, err := a.rooms.Info(a.Context(), room)
	if err != nil {
		return ""
	}
	m, err := a.db.Latest().Member(a.Context(), info.NID, user)
	if err != nil {
		a.Fatal(err)
	}
	if m == nil {
		return ""
	}
	return m.Membership.String()
}

// peer is a server under the test's control: it signs what the test wants and
// answers what the test says.
type peer struct {
	*world
	own    *keys.Own
	name   string
	answer func(w http.ResponseWriter, r *http.Request) bool // guarded by world.mu
}

func (w *world) peer(name string) *peer {
	w.Helper()
	p := &peer{world: w, own: w.own(name), name: name}
	w.listen(name, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_matrix/key/v2/server" {
			document, err := p.own.Document()
			if err == nil {
				_, err = rw.Write(document)
			}
			if err != nil {
				w.Error(err)
			}
			return
		}
		w.mu.Lock()
		answer := p.answer
		w.mu.Unlock()
		if answer == nil || !answer(rw, r) {
			http.Error(rw, `{"errcode":"M_NOT_FOUND","error":"no"}`, http.StatusNotFound)
		}
	}))
	return p
}

// reply is what an agency answered.
type reply struct {
	status int
	header http.Header
	gjson.Result
}

// call makes a signed request. body is bytes as they are, or anything as JSON.
func (p *peer) call(to *agency, method, uri string, body any) reply {
	p.Helper()
	var raw []byte
	switch b := body.(type) {
	case nil:
	case []byte:
		raw = b
	default:
		var err error
		if raw, err = json.Marshal(b); err != nil {
			p.Fatal(err)
		}
	}
	signed := raw
	if len(raw) > 0 {
		if canonical, err := event.Canonical(raw); err == nil {
			signed = canonical
		}
	}
	return p.raw(to, method, uri, raw, keys.SignRequest(p.own.Signer(), method, uri, to.name, signed))
}

func (p *peer) raw(to *agency, method, uri string, body []byte, authorization string) reply {
	p.Helper()
	req, err := http.NewRequest(method, "https://"+to.name+":1"+uri, bytes.NewReader(body))
	if err != nil {
		p.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	transport := &http.Transport{DialContext: p.dial, TLSClientConfig: &tls.Config{RootCAs: p.roots}}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, gjson.ParseBytes(got)}
}

// send pushes a transaction.
func (p *peer) send(to *agency, txn string, pdus []json.RawMessage, edus ...any) reply {
	p.Helper()
	if pdus == nil {
		pdus = []json.RawMessage{}
	}
	body := map[string]any{"origin": p.name, "origin_server_ts": 1, "pdus": pdus}
	if edus != nil {
		body["edus"] = edus
	}
	return p.call(to, http.MethodPut, "/_matrix/federation/v1/send/"+txn, body)
}

// refused wants an error.
func (p *peer) refused(r reply, status int, errcode string) {
	p.Helper()
	if r.status != status || r.Get("errcode").Str != errcode {
		p.Errorf("answered %d %s, and not %d %s", r.status, r.Raw, status, errcode)
	}
}

// join joins a user of the peer to an agency's room, by hand.
func (p *peer) join(to *agency, room id.RoomID, user id.UserID) *event.PDU {
	p.Helper()
	made := p.call(to, http.MethodGet, "/_matrix/federation/v1/make_join/"+string(room)+"/"+string(user)+"?ver=10&ver=11&ver=12", nil)
	rules, ok := event.RulesOf(event.Version(made.Get("room_version").Str))
	if !ok {
		p.Fatalf("make_join: %d %s", made.status, made.Raw)
	}
	draft, err := event.ParseTemplate(rules, []byte(made.Get("event").Raw), event.Expected{Room: room, User: user, Membership: "join"})
	if err != nil {
		p.Fatal(err)
	}
	draft.Timestamp = time.Now().UnixMilli()
	pdu, err := draft.Build(rules, p.own.Signer())
	if err != nil {
		p.Fatal(err)
	}
	joined := p.call(to, http.MethodPut, "/_matrix/federation/v2/send_join/"+string(room)+"/"+string(pdu.ID()), []byte(pdu.JSON()))
	if joined.status != http.StatusOK || !joined.Get("state").IsArray() || !joined.Get("auth_chain").IsArray() {
		p.Fatalf("send_join: %d %s", joined.status, joined.Raw)
	}
	return pdu
}

// message builds a message of a peer's user on top of other events, by the
// authority of the room's state at the agency.
func (p *peer) message(at *agency, room id.RoomID, user id.UserID, text string, prev ...event.Ref) *event.PDU {
	p.Helper()
	content, err := json.Marshal(map[string]string{"msgtype": "m.text", "body": text})
	if err != nil {
		p.Fatal(err)
	}
	return p.event(at, room, user, event.Draft{Type: "m.room.message", Content: content, Prev: prev})
}

func (p *peer) event(at *agency, room id.RoomID, user id.UserID, d event.Draft) *event.PDU {
	p.Helper()
	info, err := at.rooms.Info(p.Context(), room)
	if err != nil {
		p.Fatal(err)
	}
	root, err := at.rooms.CurrentRoot(p.Context(), info)
	if err != nil {
		p.Fatal(err)
	}
	found, err := at.rooms.StateEvents(p.Context(), info, root, []event.Key{
		{Type: "m.room.power_levels"}, {Type: "m.room.create"}, {Type: "m.room.member", StateKey: string(user)},
	})
	if err != nil {
		p.Fatal(err)
	}
	rules, _ := event.RulesOf(info.Version)
	for _, e := range found {
		if e != nil && !(rules.RoomIDIsCreateHash && e.PDU.Type() == "m.room.create") {
			d.Auth = append(d.Auth, e.PDU.Ref())
		}
	}
	d.Room, d.Sender, d.Depth, d.Timestamp = room, user, 100, time.Now().UnixMilli()
	pdu, err := d.Build(rules, p.own.Signer())
	if err != nil {
		p.Fatal(err)
	}
	return pdu
}
