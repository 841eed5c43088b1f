package event_test

import (
	"math"
	"testing"

	"entente/roomserver/event"
	"github.com/matrix-org/gomatrixserverlib"
)

func TestVersions(t *testing.T) {
	versions := event.SupportedVersions()
	if len(versions) != 12 || versions[0] != "1" || versions[11] != "12" {
		t.Errorf("versions %v", versions)
	}
	for _, v := range []event.Version{"", "0", "01", "13", "org.matrix.msc2176"} {
		if _, ok := event.RulesOf(v); ok {
			t.Errorf("version %q is known", v)
		}
	}
	first, _ := event.RulesOf("6")
	again, _ := event.RulesOf("6")
	if first != again {
		t.Error("rules are not shared")
	}
}

// TestRulesAgainstLibrary compares what the library's versions say of
// themselves. Spec: rooms/#feature-matrix
func TestRulesAgainstLibrary(t *testing.T) {
	eachVersion(t, func(t *testing.T, rules *event.Rules) {
		library := libraryVersion(t, rules)
		for _, c := range []struct {
			name      string
			got, want bool
		}{
			{"event ID in body", rules.EventIDInBody, library.EventFormat() == gomatrixserverlib.EventFormatV1},
			{"URL-safe event ID", rules.URLSafeEventID, library.EventIDFormat() == gomatrixserverlib.EventIDFormatV3},
			{"state resolution 1", rules.StateResolution == event.StateResV1, library.StateResAlgorithm() == gomatrixserverlib.StateResV1},
			{"state resolution 2", rules.StateResolution == event.StateResV2, library.StateResAlgorithm() == gomatrixserverlib.StateResV2},
			{"domainless room IDs", rules.RoomIDIsCreateHash, library.DomainlessRoomIDs()},
			{"privileged creators", rules.PrivilegedCreators, library.PrivilegedCreators()},
		} {
			if c.got != c.want {
				t.Errorf("%s is %v, the library says %v", c.name, c.got, c.want)
			}
		}
		if want := int64(math.MaxInt64); !rules.StrictCanonicalJSON && rules.MaxDepth() != want {
			t.Errorf("depth up to %d", rules.MaxDepth())
		}
	})
}
