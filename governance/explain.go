package governance

import (
	"errors"
	"fmt"
	"time"

	"entente/roomserver/event"

	"maunium.net/go/mautrix/id"
)

// Question is what one may ask of a policy. Only the peer is required; what is
// given besides is answered besides.
type Question struct {
	Peer string
	// At is the time of the decision.
	At time.Time
	// Inviter and Invitee: may this user invite that one?
	Inviter, Invitee id.UserID
	// Version: may a room of this version have the peer in it? Invitations
	// are into such a room.
	Version event.Version
	// EDU: is ephemeral data of this type exchanged?
	EDU string
}

// Answer is one decision, explained.
type Answer struct {
	// Place is which of the four places asks: transport, room, event or user.
	Place string `json:"place"`
	// Question is what is asked, as a sentence.
	Question string `json:"question"`
	// Permitted is the decision.
	Permitted bool `json:"permitted"`
	// Rule is the name of the rule that decided.
	Rule string `json:"rule"`
	// Explanation is why, as a sentence.
	Explanation string `json:"explanation"`
}

// The places that ask.
const (
	PlaceTransport = "transport"
	PlaceRoom      = "room"
	PlaceEvent     = "event"
	PlaceUser      = "user"
)

// Explain answers what would happen. Without details it goes through all room
// versions and types of ephemeral data of the peer.
func (p *Policy) Explain(q Question) []Answer {
	peer := canonicalName(q.Peer)
	answers := []Answer{p.answer(PlaceTransport, fmt.Sprintf("may %s and this server talk to each other?", peer), peer, p.Peer(peer, q.At))}
	if keys, ok := p.Pinned(peer); ok {
		answers = append(answers, Answer{
			Place: PlaceTransport, Question: "which signing keys count for " + peer + "?", Permitted: true, Rule: "agreement.keys",
			Explanation: fmt.Sprintf("Only those that the agreement pins: %d of them", len(keys)),
		})
	}
	if p.RootsFor(peer) != nil {
		answers = append(answers, Answer{
			Place: PlaceTransport, Question: "which certificates count for " + peer + "?", Permitted: true, Rule: "agreement.ca",
			Explanation: "Only those that the authorities pinned by the agreement vouch for",
		})
	}
	versions := event.SupportedVersions()
	version := q.Version
	if version != "" {
		versions = []event.Version{version}
	} else {
		version = event.DefaultVersion
	}
	for _, v := range versions {
		answers = append(answers, p.answer(PlaceRoom, fmt.Sprintf("may a room of version %s have %s in it?", v, peer), peer, p.Room(v, peer, q.At)))
	}
	kinds := EDUTypes()
	if q.EDU != "" {
		kinds = []string{q.EDU}
	}
	for _, kind := range kinds {
		answers = append(answers, p.answer(PlaceEvent, fmt.Sprintf("is %s exchanged with %s?", kind, peer), peer, p.EDU(peer, kind, q.At)))
	}
	if q.Inviter != "" {
		asked := fmt.Sprintf("may %s invite %s to a room of version %s?", q.Inviter, q.Invitee, version)
		answers = append(answers, p.answer(PlaceUser, asked, peer, p.Invite(q.Inviter, q.Invitee, version, q.At)))
	}
	return answers
}

// answer is a decision with the rule that made it.
func (p *Policy) answer(place, question, peer string, err error) Answer {
	a := Answer{Place: place, Question: question}
	var refusal *Refusal
	if errors.As(err, &refusal) {
		a.Rule, a.Explanation = refusal.Rule, refusal.Explanation
		return a
	}
	a.Permitted = true
	switch {
	case peer == p.own:
		a.Rule, a.Explanation = "own", "It is this server itself"
	case p.peers[peer] != nil:
		a.Rule, a.Explanation = "agreement", "The agreement with "+peer+" permits it"
	case p.mode == ModeOpen:
		a.Rule, a.Explanation = "federation.open", "Federation is open, and there is no agreement with "+peer
	default:
		a.Rule, a.Explanation = "federation.listed", peer+" is listed in the configuration, and there is no agreement with it"
	}
	return a
}
