package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"entente/internal/fault"
	"github.com/klauspost/compress/gzip"
)

// joined is what a send_join hands over.
type joined struct {
	State, Auth []string
	Answer      JoinAnswer
}

func join(c *Client) (joined, error) {
	var got joined
	answer, err := c.SendJoin(context.Background(), peerName, SendJoinRequest{Room: room, EventID: eventID, Event: json.RawMessage(`{"a":1}`)},
		func(part Part, pdu json.RawMessage) error {
			if part == StatePart {
				got.State = append(got.State, string(pdu))
			} else {
				got.Auth = append(got.Auth, string(pdu))
			}
			return nil
		})
	got.Answer = answer
	return got, err
}

func TestSendJoinHandsOverEveryEvent(t *testing.T) {
	for name, answer := range map[string]string{
		"compact":     `{"auth_chain":[{"b":2}],"event":{"e":1},"members_omitted":true,"origin":"x","servers_in_room":["p","q"],"state":[{"a":"]}\"\\"},{"c":[{}]}]}`,
		"spread out":  " {\n\"state\" : [ {\"a\":\"]}\\\"\\\\\"} ,\t{\"c\":[{}]} ] , \"event\":{\"e\":1}, \"servers_in_room\": [\"p\",\"q\"],\r\n\"auth_chain\" : [ {\"b\":2} ],\"members_omitted\" : true , \"x\": [1,[2,{\"y\":\"z\"}],-3.5e7,null,false] } \n",
		"escaped key": `{"auth_chain":[{"b":2}],"event":{"e":1},"members_omitted":true,"servers_in_room":["p","q"],"st\u0061te":[{"a":"]}\"\\"},{"c":[{}]}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, says(answer))
			got, err := join(f.Client)
			want := joined{[]string{`{"a":"]}\"\\"}`, `{"c":[{}]}`}, []string{`{"b":2}`}, JoinAnswer{json.RawMessage(`{"e":1}`), true, []string{"p", "q"}}}
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v", got, err)
			}
			if a := f.peer.last(t); a.uri != fedV2+"/send_join/%21r%2Foom:peer.example/$e%2Fvent" || a.body != `{"a":1}` {
				t.Errorf("the peer got %s %s", a.uri, a.body)
			}
		})
	}
}

func TestMembersAreLeftOutOnlyOnRequest(t *testing.T) {
	f := newFixture(t, says(`{"state":[],"auth_chain":null}`))
	none := func(Part, json.RawMessage) error { return nil }
	if _, err := f.SendJoin(context.Background(), peerName, SendJoinRequest{OmitMembers: true, Event: json.RawMessage(`{}`)}, none); err != nil {
		t.Fatal(err)
	}
	if a := f.peer.last(t); !strings.HasSuffix(a.uri, "?omit_members=true") {
		t.Errorf("the peer got %s", a.uri)
	}
}

func TestStateComesInParts(t *testing.T) {
	f := newFixture(t, says(`{"pdus":[{"a":1},{"b":2}],"auth_chain":[{"c":3}]}`))
	var got []string
	err := f.State(context.Background(), peerName, room, eventID, func(part Part, pdu json.RawMessage) error {
		got = append(got, fmt.Sprintf("%d %s", part, pdu))
		return nil
	})
	if err != nil || !reflect.DeepEqual(got, []string{`0 {"a":1}`, `0 {"b":2}`, `1 {"c":3}`}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestALargeJoinArrivesWhole(t *testing.T) {
	const events = 20_000
	f := newFixture(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept-Encoding") != "gzip" {
			t.Error("compression was not asked for")
		}
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		defer z.Close()
		_, _ = io.WriteString(z, `{"auth_chain":[],"state":[`)
		for i := range events {
			if i > 0 {
				_, _ = io.WriteString(z, ",")
			}
			_, _ = fmt.Fprintf(z, `{"n":%d,"pad":"%s"}`, i, strings.Repeat("x", i%700))
		}
		_, _ = io.WriteString(z, `]}`)
	})
	n := 0
	_, err := f.SendJoin(context.Background(), peerName, SendJoinRequest{Event: json.RawMessage(`{}`)}, func(_ Part, pdu json.RawMessage) error {
		if !json.Valid(pdu) || !bytes.HasPrefix(pdu, fmt.Appendf(nil, `{"n":%d,`, n)) {
			return fmt.Errorf("event %d is %s", n, pdu)
		}
		n++
		return nil
	})
	if err != nil || n != events {
		t.Errorf("got %d events, %v", n, err)
	}
}

func TestStreamsOfLiars(t *testing.T) {
	long := strings.Repeat("x", maxElement)
	for name, stream := range map[string]string{
		"no state":              `{"auth_chain":[]}`,
		"no auth chain":         `{"state":[]}`,
		"state twice":           `{"state":[],"state":[],"auth_chain":[]}`,
		"an element too long":   `{"auth_chain":[],"state":[{"x":"` + long + `"}]}`,
		"a member too long":     `{"auth_chain":[],"state":[],"event":{"x":"` + strings.Repeat(long, maxMember/maxElement) + `"}}`,
		"a key too long":        `{"auth_chain":[],"state":[],"` + long + `":1}`,
		"a string for an event": `{"auth_chain":[],"state":["$a"]}`,
		"an object for a list":  `{"auth_chain":[],"state":{}}`,
		"a word for a list":     `{"auth_chain":[],"state":nul}`,
		"no colon":              `{"auth_chain" [],"state":[]}`,
		"no comma":              `{"auth_chain":[] "state":[]}`,
		"no quotes":             `{auth_chain:[],"state":[]}`,
		"no value":              `{"auth_chain":[],"state":[],"x":}`,
		"a closed nothing":      `{"auth_chain":[],"state":[],"x":]}`,
		"a number and a quote":  `{"auth_chain":[],"state":[],"x":1"2"}`,
		"a number and a list":   `{"auth_chain":[],"state":[],"x":1[2]}`,
		"a comma too many":      `{"auth_chain":[],"state":[{},]}`,
		"more behind":           `{"auth_chain":[],"state":[]}{}`,
		"cut in an event":       `{"auth_chain":[],"state":[{"a":`,
		"cut in a string":       `{"auth_chain":[],"state":[{"a":"`,
		"cut behind an event":   `{"auth_chain":[],"state":[{}`,
		"members of no kind":    `{"auth_chain":[],"state":[],"members_omitted":"yes"}`,
		"servers of no kind":    `{"auth_chain":[],"state":[],"servers_in_room":[7]}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := join(newFixture(t, says(stream)).Client)
			wantKind(t, err, fault.Unreachable)
		})
	}
}

func TestAnErrorOfTheReceiverEndsTheCall(t *testing.T) {
	f := newFixture(t, says(`{"state":[{},{},{}],"auth_chain":[]}`))
	stop := errors.New("the database is full")
	n := 0
	_, err := f.SendJoin(context.Background(), peerName, SendJoinRequest{Event: json.RawMessage(`{}`)}, func(Part, json.RawMessage) error {
		n++
		return stop
	})
	if err != stop || n != 1 {
		t.Errorf("got %v after %d events", err, n)
	}
}

func TestCompressionIsBounded(t *testing.T) {
	bomb := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		zeros := make([]byte, 1<<20)
		for range 1 << 10 {
			if _, err := z.Write(zeros); err != nil {
				return
			}
		}
		_ = z.Close()
	}
	f := newFixture(t, bomb)
	if _, err := f.Event(context.Background(), peerName, eventID); !errors.Is(err, errTooLong) {
		t.Errorf("a packed event that was not asked for gives %v", err)
	}
	_, err := join(f.Client)
	wantKind(t, err, fault.Unreachable)

	f.peer.answers(fails(200, `{}`, "Content-Encoding: br"))
	_, err = f.Event(context.Background(), peerName, eventID)
	wantKind(t, err, fault.Unreachable)
	f.peer.answers(fails(200, `{}`, "Content-Encoding: gzip"))
	_, err = f.Event(context.Background(), peerName, eventID)
	wantKind(t, err, fault.Unreachable)
}

func TestAStreamThatStallsEnds(t *testing.T) {
	done := make(chan struct{})
	f := newFixture(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"state":[{}`)
		w.(http.Flusher).Flush()
		<-done
	}, func(o *Options) { o.Stall = 20 * time.Millisecond })
	defer close(done)
	_, err := join(f.Client)
	wantKind(t, err, fault.Unreachable)
}

func TestAReceiverMayTakeItsTime(t *testing.T) {
	// The clock of a stall stands still between reads, or this would fail
	// whenever a receiver is slower than its peer.
	canceled := false
	s := &stallReader{r: iotest.OneByteReader(strings.NewReader("xy")), cancel: func() { canceled = true }, wait: time.Hour}
	for range 2 {
		if _, err := s.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		if s.timer.Stop() {
			t.Error("the timer runs between reads")
		}
	}
	s.stop()
	if canceled {
		t.Error("the call was cancelled")
	}
}

func TestLimitedReader(t *testing.T) {
	for limit, want := range map[int64]error{4: errTooLong, 5: nil, 6: nil} {
		got, err := io.ReadAll(iotest.OneByteReader(&limitedReader{r: strings.NewReader("12345"), left: limit}))
		if err != want || err == nil && string(got) != "12345" {
			t.Errorf("limit %d: got %s, %v", limit, got, err)
		}
	}
}

// FuzzStreamObject holds the stream to encoding/json: what that takes for an
// object of two lists, the stream must find the same elements in.
func FuzzStreamObject(f *testing.F) {
	f.Add([]byte(`{"state":[{"a":"]}\"\\"},{"b":[{}]}],"x":[1,-2.5e3,null],"event":{}}`), 3)
	f.Add([]byte(" { \"state\" : null , \"event\" : \"\\u00e9\" } "), 1)
	f.Fuzz(func(t *testing.T, raw []byte, chunk int) {
		var got []json.RawMessage
		var kept json.RawMessage
		r := io.Reader(bytes.NewReader(raw))
		if chunk%2 == 0 {
			r = iotest.OneByteReader(r)
		}
		err := streamObject(r, map[string]field{
			"state": {each: func(pdu json.RawMessage) error {
				got = append(got, pdu)
				return nil
			}},
			"event": {into: &kept},
		})
		for _, pdu := range got {
			if pdu[0] != '{' {
				t.Fatalf("%q gives the element %q", raw, pdu)
			}
		}
		var whole map[string]json.RawMessage
		var want []json.RawMessage
		if json.Unmarshal(raw, &whole) != nil || json.Unmarshal(orNull(whole["state"]), &want) != nil {
			return
		}
		for _, pdu := range want {
			if pdu[0] != '{' {
				return
			}
		}
		if whole == nil {
			return // the word null
		}
		if err != nil {
			if errors.Is(err, errElement) || errors.Is(err, errSyntax) && strings.Contains(err.Error(), "twice") {
				return
			}
			t.Fatalf("%q: %v", raw, err)
		}
		if len(got) != len(want) || string(kept) != string(whole["event"]) {
			t.Fatalf("%q gives %s and %s, want %s and %s", raw, got, kept, want, whole["event"])
		}
		for i := range got {
			if string(got[i]) != string(want[i]) {
				t.Fatalf("%q: element %d is %s, want %s", raw, i, got[i], want[i])
			}
		}
	})
}

func orNull(raw json.RawMessage) json.RawMessage {
	if raw == nil {
		return json.RawMessage("null")
	}
	return raw
}

func BenchmarkStream(b *testing.B) {
	var join bytes.Buffer
	join.WriteString(`{"auth_chain":[],"state":[`)
	for i := range 5000 {
		if i > 0 {
			join.WriteByte(',')
		}
		fmt.Fprintf(&join, `{"content":{"membership":"join"},"depth":%d,"pad":"%s"}`, i, strings.Repeat("x", 600))
	}
	join.WriteString(`]}`)
	fields := map[string]field{"state": {each: func(json.RawMessage) error { return nil }}, "auth_chain": {each: func(json.RawMessage) error { return nil }}}
	b.SetBytes(int64(join.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if err := streamObject(bytes.NewReader(join.Bytes()), fields); err != nil {
			b.Fatal(err)
		}
	}
}
