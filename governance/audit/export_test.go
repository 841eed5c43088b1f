package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"entente/governance/audit"
	"entente/roomserver/event"
	"entente/storage"
	"entente/storage/storagetest"
)

// memory is a sink that fails when told to.
type memory struct {
	mu    sync.Mutex
	lines [][]byte // guarded by mu
	fail  bool     // guarded by mu
}

func (m *memory) Name() string { return "memory" }
func (m *memory) Close() error { return nil }

func (m *memory) Deliver(_ context.Context, batch []audit.Delivery) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail {
		return errors.New("the receiver is away")
	}
	for _, d := range batch {
		m.lines = append(m.lines, d.Line)
	}
	return nil
}

func (m *memory) set(fail bool) { m.mu.Lock(); defer m.mu.Unlock(); m.fail = fail }

// take is what came since it was called last: how many records, how many
// checkpoints.
func (m *memory) take() (records, checkpoints int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.lines {
		if bytes.Contains(l, []byte(`"type":"entente.audit.checkpoint"`)) {
			checkpoints++
		} else {
			records++
		}
	}
	m.lines = nil
	return records, checkpoints
}

// A sink gets every record once while all is well, catches up after a failure,
// goes on where it stopped after a restart, and gets checkpoints now and then.
func TestExport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := storagetest.SQLite(t)
		o.ServerName = server
		db, err := storage.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		sink := &memory{}
		start := func() (stop func()) {
			x := audit.NewExporter(audit.ExportOptions{
				DB: db, ServerName: server, Sinks: []audit.Sink{sink}, Sign: func() event.Signer { return signer("a") },
			})
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- x.Run(ctx) }()
			return func() {
				cancel()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			}
		}
		expect := func(when string, wantRecords, wantCheckpoints int) {
			t.Helper()
			pass(3 * time.Minute)
			if records, checkpoints := sink.take(); records != wantRecords || checkpoints != wantCheckpoints {
				t.Errorf("%s: %d records and %d checkpoints, want %d and %d", when, records, checkpoints, wantRecords, wantCheckpoints)
			}
		}
		fill(t, db, 700)
		stop := start()
		expect("at first", 700, 1)
		expect("when nothing happened", 0, 0)
		fill(t, db, 3)
		expect("later", 3, 1)
		sink.set(true)
		fill(t, db, 4)
		expect("while the receiver is away", 0, 0)
		sink.set(false)
		expect("when it is back", 4, 1)
		stop()
		fill(t, db, 5)
		stop = start()
		expect("after a restart", 5, 1)
		stop()
		cursors, err := db.Latest().AuditCursors(t.Context())
		if err != nil || len(cursors) != 1 || cursors[0].Seq != 712 || cursors[0].Sink != "memory" {
			t.Errorf("cursors are %v, error %v", cursors, err)
		}
	})
}

// Of several nodes, the oldest that is alive delivers.
func TestOneNodeDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := storage.Open(t.Context(), storagetest.SQLite(t))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		older := &storage.Node{ID: "older", Started: 1, Seen: time.Now().UnixMilli()}
		if err := db.Stage(t.Context(), older, &storage.Node{ID: db.Node(), Started: 2, Seen: time.Now().Add(time.Hour).UnixMilli()}); err != nil {
			t.Fatal(err)
		}
		fill(t, db, 2)
		sink := &memory{}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- audit.NewExporter(audit.ExportOptions{DB: db, ServerName: server, Sinks: []audit.Sink{sink}}).Run(ctx)
		}()
		pass(10 * time.Second)
		if records, _ := sink.take(); records != 0 {
			t.Errorf("%d records while an older node lives", records)
		}
		pass(20 * time.Second)
		if records, _ := sink.take(); records != 2 {
			t.Errorf("%d records after the older node died", records)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func delivery(n int) audit.Delivery {
	return audit.Delivery{Kind: audit.Policy, Outcome: audit.Refused, At: noon(), Line: fmt.Appendf(nil, `{"seq":%d}`, n)}
}

// The file is only its owner's, and may be moved away at any time.
func TestFileSink(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	sink := audit.NewFileSink(path)
	deliver := func(n int) {
		t.Helper()
		if err := sink.Deliver(t.Context(), []audit.Delivery{delivery(n), delivery(n + 1)}); err != nil {
			t.Fatal(err)
		}
	}
	deliver(1)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, error %v", info, err)
	}
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	deliver(3)
	deliver(5)
	text, err := os.ReadFile(path)
	if err != nil || string(text) != "{\"seq\":3}\n{\"seq\":4}\n{\"seq\":5}\n{\"seq\":6}\n" {
		t.Errorf("%q, error %v", text, err)
	}
	if err := audit.NewFileSink(filepath.Join(path, "x")).Deliver(t.Context(), []audit.Delivery{delivery(1)}); err == nil {
		t.Error("a file that cannot be made takes records")
	}
}

// messageForm is RFC 5424: facility 13 (log audit), severity 4 (warning).
var messageForm = regexp.MustCompile(`^<108>1 2026-11-22T12:00:00\.000Z [!-~]+ entente - policy - \{"seq":\d\}$`)

func newSyslog(t *testing.T, target string) *audit.SyslogSink {
	t.Helper()
	sink, err := audit.NewSyslogSink(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sink.Close() })
	return sink
}

func TestSyslogDatagrams(t *testing.T) {
	dir, err := os.MkdirTemp("", "syslog") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for network, addr := range map[string]string{"udp": "127.0.0.1:0", "unixgram": filepath.Join(dir, "log")} {
		receiver, err := net.ListenPacket(network, addr)
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		target := "udp://" + receiver.LocalAddr().String()
		if network == "unixgram" {
			target = "unix://" + addr
		}
		sink := newSyslog(t, target)
		if err := sink.Deliver(t.Context(), []audit.Delivery{delivery(1), delivery(2)}); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 1000)
		for range 2 {
			n, _, err := receiver.ReadFrom(buf)
			if err != nil || !messageForm.Match(buf[:n]) {
				t.Errorf("%s: %q, error %v", network, buf[:n], err)
			}
		}
	}
}

// Over TCP, messages are counted; a receiver that closed the connection gets
// what follows on a new one.
func TestSyslogStream(t *testing.T) {
	receiver, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	got := make(chan string, 10)
	go func() {
		for {
			conn, err := receiver.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			count, err := r.ReadString(' ')
			n, bad := strconv.Atoi(strings.TrimSuffix(count, " "))
			message := make([]byte, max(n, 0))
			_, short := io.ReadFull(r, message)
			_ = conn.Close()
			got <- fmt.Sprint(string(message), errors.Join(err, bad, short))
		}
	}()
	sink := newSyslog(t, "tcp://"+receiver.Addr().String())
	for n := range 3 {
		if err := sink.Deliver(t.Context(), []audit.Delivery{delivery(n)}); err != nil {
			t.Fatal(err)
		}
		if message := strings.TrimSuffix(<-got, "<nil>"); !messageForm.MatchString(message) || !strings.Contains(message, strconv.Itoa(n)+"}") {
			t.Errorf("message %d is %q", n, message)
		}
	}
}

func TestSyslogTargets(t *testing.T) {
	for _, target := range []string{"", "udp://host", "http://host:1", "unix://", "tcp://:", "%"} {
		if _, err := audit.NewSyslogSink(target); err == nil {
			t.Errorf("%q is taken", target)
		}
	}
	sink := newSyslog(t, "unix:///nowhere/log")
	if err := sink.Deliver(t.Context(), []audit.Delivery{delivery(1)}); err == nil {
		t.Error("a receiver that is not there takes records")
	}
}
