package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
)

// command runs a command of the operator on the agency and returns what it
// printed.
func (a *agency) command(args ...string) string {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), os.Getenv(binaryVariable), append(args, "--config", a.path("entente.yaml"))...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Fatalf("entente %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// An operator suspends the agreement with a peer on a running server: nothing
// passes until it is resumed, memberships stay, and the audit log tells.
func TestSuspendedAgreement(t *testing.T) {
	onBothDatabases(t, func(t *testing.T, north, south *agency) {
		alice, bob := newPerson(t, north, "alice"), newPerson(t, south, "bob")
		room := alice.createRoom("Harbour", bob.UserID)
		bob.accept(room)
		alice.awaitMember(room, bob.UserID, event.MembershipJoin)

		north.command("agreement", "add", south.Name)
		bob.awaitMessages("what is said under the agreement", alice.saying(room, "under the agreement"))
		north.command("agreement", "suspend", south.Name, "--reason", "drill")

		kept := alice.say(room, "while suspended")
		fromSouth := bob.say(room, "to a server that does not listen")
		eventually(t, "North refuses what South sends", func(context.Context) error {
			if log := north.command("audit", "export"); !strings.Contains(log, "refus") || !strings.Contains(log, south.Name) {
				return errors.New("the audit log has no refusal")
			}
			return nil
		})
		if _, err := bob.GetEvent(t.Context(), room, kept); err == nil {
			t.Error("Bob has what was said while the agreement was suspended")
		}
		if _, err := alice.GetEvent(t.Context(), room, fromSouth); err == nil {
			t.Error("Alice has what Bob said while the agreement was suspended")
		}

		north.command("agreement", "resume", south.Name)
		bob.awaitMessages("what is said afterwards", alice.saying(room, "afterwards"))
		alice.awaitMessages("what Bob said", append(bob.saying(room, "me too"), fromSouth))

		for _, a := range []*agency{north, south} {
			a.command("audit", "verify")
		}
	})
}
