package audit

import (
	"time"

	"maunium.net/go/mautrix/id"
)

// sort is what the dotted kinds of other packages are in the log.
type sort struct {
	kind    Kind
	what    string
	outcome Outcome
	rule    string
}

// sortOf knows the kinds that accounts and key handling write.
func sortOf(kind string) sort {
	switch kind {
	case "login":
		return sort{Login, "", OK, ""}
	case "login.refused":
		return sort{Login, "", Refused, ""}
	case "login.reuse":
		return sort{Login, "refresh", Refused, "session.reuse"}
	case "logout":
		return sort{Logout, "", OK, ""}
	case "register":
		return sort{Registration, "", OK, ""}
	case "register.refused":
		return sort{Registration, "", Refused, ""}
	case "password", "deactivate", "device.delete":
		return sort{Account, kind, OK, ""}
	case "password.refused":
		return sort{Account, "password", Refused, ""}
	case "key":
		return sort{Key, "", OK, ""}
	}
	return sort{Admin, kind, OK, ""}
}

// FromFields is the record of what another package names by a kind and
// fields. The fields user, by, remote, room, server and rule have places of
// their own; the others are detail. A kind that is not known is an act of an
// administrator.
func FromFields(at time.Time, kind string, fields map[string]string) Record {
	s := sortOf(kind)
	r := Record{Kind: s.kind, At: at, What: s.what, Outcome: s.outcome, Rule: s.rule}
	for name, value := range fields {
		switch name {
		case "user":
			r.Target = value
		case "by":
			r.Who = value
		case "remote":
			r.Address = value
		case "room":
			r.Room = id.RoomID(value)
		case "server":
			r.Server = value
		case "rule":
			r.Rule = value
		default:
			if r.Detail == nil {
				r.Detail = map[string]string{}
			}
			r.Detail[name] = value
		}
	}
	if r.Who == "" { // they did it themselves
		r.Who = r.Target
	}
	return r
}
