package governance

import (
	"fmt"

	"entente/internal/fault"
)

// The rules that refuse, by the names that refusals, the audit log and
// "entente agreement explain" carry.
const (
	// RuleClosed: federation is closed, whatever agreements say.
	RuleClosed = "federation.closed"
	// RuleNotListed: the mode is listed, and neither the list nor an agreement
	// names the server.
	RuleNotListed = "federation.not_listed"
	// RuleSuspended: the agreement with the server is suspended.
	RuleSuspended = "agreement.suspended"
	// RuleExpired: the agreement is not valid any more.
	RuleExpired = "agreement.expired"
	// RuleNotYetValid: the agreement is not valid yet.
	RuleNotYetValid = "agreement.not_yet_valid"
	// RuleRoomVersion: the agreement does not permit rooms of the version.
	RuleRoomVersion = "agreement.room_version"
	// RuleEDU: the agreement does not permit ephemeral data of the type.
	RuleEDU = "agreement.edu"
	// RuleInviteOutbound: the agreement does not let this user of ours invite
	// that user of theirs.
	RuleInviteOutbound = "agreement.invite_outbound"
	// RuleInviteInbound: the agreement does not let this user of theirs invite
	// that user of ours.
	RuleInviteInbound = "agreement.invite_inbound"
	// RuleStale: this node could not make sure for a while that its policy is
	// the latest, and lets nothing pass until it can.
	RuleStale = "node.stale"
)

// Refusal is a decision against something. It unwraps to a *fault.Error for
// the caller.
type Refusal struct {
	// Rule is the name of the rule that decided.
	Rule string
	// Peer is the server that the decision is about, or empty.
	Peer string
	// Detail says for operators what was refused: which identifier, where.
	Detail string
	// Explanation is a sentence that callers and peers may read.
	Explanation string
}

// Error is the refusal for logs.
func (r *Refusal) Error() string {
	text := "refused by " + r.Rule
	if r.Peer != "" {
		text += " for " + r.Peer
	}
	if r.Detail != "" {
		text += " (" + r.Detail + ")"
	}
	return text + ": " + r.Explanation
}

// Unwrap is the error that callers see.
func (r *Refusal) Unwrap() error {
	kind := fault.Forbidden
	if r.Rule == RuleStale {
		kind = fault.Unavailable
	}
	return fault.New(kind, "%s (%s)", r.Explanation, r.Rule)
}

func refuse(rule, peer, format string, args ...any) *Refusal {
	return &Refusal{Rule: rule, Peer: peer, Explanation: fmt.Sprintf(format, args...)}
}

// about is the refusal with what it was that was refused.
func (r *Refusal) about(format string, args ...any) *Refusal {
	r.Detail = fmt.Sprintf(format, args...)
	return r
}
