package accounts

import (
	"context"

	"maunium.net/go/mautrix/id"

	"entente/storage"
)

// The kinds of audit event, with their fields beside user, device and remote
// (the caller's address), which all of them have where they are known.
const (
	AuditLogin          = "login"            // kind
	AuditLoginRefused   = "login.refused"    // reason
	AuditReuse          = "login.reuse"      // a spent refresh token came again: its family was ended
	AuditLogout         = "logout"           // all ("true" for every session of the user)
	AuditRegister       = "register"         // via, admin ("true" for an administrator)
	AuditPassword       = "password"         // by: who changed it
	AuditPasswordDenied = "password.refused" // reason: a failed proof before a sensitive change
	AuditDeactivate     = "deactivate"       // by, erase
	AuditAdmin          = "admin"            // by, admin: the new state
	AuditDevice         = "device.delete"    // by
)

// record makes an audit record; none when nothing keeps them.
func (a *Accounts) record(kind string, user id.UserID, by Caller, more ...string) []storage.AuditRecord {
	if a.opts.Audit == nil {
		return nil
	}
	fields := map[string]string{"user": string(user)}
	if by.Device != "" {
		fields["device"] = string(by.Device)
	}
	if from := by.from(); from != "" {
		fields["remote"] = from
	}
	for i := 0; i+1 < len(more); i += 2 {
		fields[more[i]] = more[i+1]
	}
	return []storage.AuditRecord{a.opts.Audit(kind, fields)}
}

// audit writes a record of something that changed nothing else.
func (a *Accounts) audit(ctx context.Context, kind string, user id.UserID, by Caller, more ...string) error {
	records := a.record(kind, user, by, more...)
	if records == nil {
		return nil
	}
	return a.commit(ctx, storage.Commit{Positions: 1, Audit: records})
}
