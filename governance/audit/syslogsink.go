package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// SyslogSink sends messages of RFC 5424 with the facility "log audit", the
// JSON line as the message: as datagrams to udp://host:port or to a socket
// unix:///dev/log, or counted (RFC 6587) over tcp://host:port. Syslog does not
// confirm what it gets; a file does.
type SyslogSink struct {
	target        string
	network, addr string
	host          string
	conn          net.Conn // nil before the first batch and after a failure
}

const (
	syslogTimeout  = 10 * time.Second
	syslogFacility = 13 // log audit
	severityError  = 3
	severityWarn   = 4
	severityNotice = 5
)

// NewSyslogSink makes a sink of a target as above, and connects when there is
// something to deliver.
func NewSyslogSink(target string) (*SyslogSink, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("syslog target %q: %w", target, err)
	}
	s := &SyslogSink{target: target, network: u.Scheme, addr: u.Host}
	switch {
	case u.Scheme == "unix" && u.Path != "":
		s.network, s.addr = "unixgram", u.Path
	case (u.Scheme == "udp" || u.Scheme == "tcp") && u.Port() != "":
	default:
		return nil, fmt.Errorf("syslog target %q is not udp://host:port, tcp://host:port or unix:///path", target)
	}
	if s.host, err = os.Hostname(); err != nil || !printable(s.host) {
		s.host = "-"
	}
	return s, nil
}

func printable(s string) bool {
	return s != "" && len(s) <= 255 && strings.IndexFunc(s, func(r rune) bool { return r < 33 || r > 126 }) < 0
}

// Name is the sink's name.
func (s *SyslogSink) Name() string { return "syslog:" + s.target }

// Deliver sends the batch, on a new connection if the last one broke.
func (s *SyslogSink) Deliver(ctx context.Context, batch []Delivery) error {
	if s.conn != nil && s.broken() {
		s.drop()
	}
	if s.conn == nil {
		conn, err := (&net.Dialer{Timeout: syslogTimeout}).DialContext(ctx, s.network, s.addr)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	if err := s.send(batch); err != nil {
		s.drop()
		return err
	}
	return nil
}

func (s *SyslogSink) send(batch []Delivery) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogTimeout)); err != nil {
		return err
	}
	var stream bytes.Buffer
	for _, d := range batch {
		message := s.message(d)
		if s.network == "tcp" {
			stream.WriteString(strconv.Itoa(len(message)) + " ")
			stream.Write(message)
			continue
		}
		if _, err := s.conn.Write(message); err != nil {
			return err
		}
	}
	if stream.Len() == 0 {
		return nil
	}
	_, err := s.conn.Write(stream.Bytes())
	return err
}

// broken reports whether the receiver closed the stream: what is written then
// would be lost without an error.
func (s *SyslogSink) broken() bool {
	if s.network != "tcp" {
		return false
	}
	if s.conn.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
		return true
	}
	_, err := s.conn.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

func (s *SyslogSink) drop() {
	_ = s.conn.Close() // it is given up whatever comes of it
	s.conn = nil
}

// message is a record as RFC 5424 has it. A checkpoint's message ID is
// "checkpoint".
func (s *SyslogSink) message(d Delivery) []byte {
	severity, kind := severityNotice, string(d.Kind)
	switch d.Outcome {
	case Refused:
		severity = severityWarn
	case Failed:
		severity = severityError
	}
	if kind == "" {
		kind = "checkpoint"
	}
	if !printable(kind) || len(kind) > 32 {
		kind = "-"
	}
	head := fmt.Sprintf("<%d>1 %s %s entente - %s - ", syslogFacility*8+severity, d.At.UTC().Format("2006-01-02T15:04:05.000Z"), s.host, kind)
	return append([]byte(head), d.Line...)
}

// Close closes the connection.
func (s *SyslogSink) Close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err
}
