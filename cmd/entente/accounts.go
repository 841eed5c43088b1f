package main

import (
	"context"
	"encoding/json"
	"maps"
	"time"

	"entente/accounts"
	"entente/governance/audit"
	"entente/internal/fault"
	"entente/roomserver"
	"entente/storage"

	"maunium.net/go/mautrix/id"
)

// newAccounts builds the accounts on what the server has already.
func newAccounts(s *server) *accounts.Accounts {
	cfg := s.cfg
	tokens := make([]string, len(cfg.Registration.Tokens))
	for i, t := range cfg.Registration.Tokens {
		tokens[i] = t.Reveal()
	}
	return accounts.New(accounts.Options{
		DB: s.db, ServerName: cfg.ServerName, Log: s.log, Audit: accountRecord,
		Passwords: accounts.PasswordOptions{
			Memory: int64(cfg.Passwords.Memory), Passes: cfg.Passwords.Passes, MinLength: cfg.Passwords.MinLength,
		},
		Registration: accounts.RegistrationOptions{Open: cfg.Registration.Open, Tokens: tokens},
		Sessions: accounts.SessionOptions{
			Refresh: cfg.Sessions.Refresh, AccessLifetime: cfg.Sessions.AccessTokenLifetime.Std(),
			RefreshLifetime: cfg.Sessions.RefreshTokenLifetime.Std(),
		},
		OnProfile: s.showProfile, OnDeactivate: s.leaveRooms, RemoteProfile: s.remoteProfile,
	})
}

// accountKinds says under which kind of audit record each event of accounts
// goes, and how it ended.
var accountKinds = map[string]struct {
	kind    audit.Kind
	outcome audit.Outcome
}{
	accounts.AuditLogin:          {audit.Login, audit.OK},
	accounts.AuditLoginRefused:   {audit.Login, audit.Refused},
	accounts.AuditReuse:          {audit.Login, audit.Refused},
	accounts.AuditLogout:         {audit.Logout, audit.OK},
	accounts.AuditRegister:       {audit.Registration, audit.OK},
	accounts.AuditPassword:       {audit.Account, audit.OK},
	accounts.AuditPasswordDenied: {audit.Account, audit.Refused},
	accounts.AuditDeactivate:     {audit.Account, audit.OK},
	accounts.AuditAdmin:          {audit.Admin, audit.OK},
	accounts.AuditDevice:         {audit.Account, audit.OK},
}

// accountRecord makes the audit record of an event of accounts.
func accountRecord(kind string, fields map[string]string) storage.AuditRecord {
	detail := maps.Clone(fields)
	as := accountKinds[kind]
	r := audit.Record{Kind: as.kind, Outcome: as.outcome, At: time.Now(), Who: fields["user"], What: kind, Address: fields["remote"]}
	if by := fields["by"]; by != "" && by != r.Who {
		r.Who, r.Target = by, fields["user"]
	}
	for _, told := range []string{"user", "remote", "by"} {
		delete(detail, told)
	}
	r.Detail = detail
	return r.Stored()
}

// hookTime bounds what happens in rooms because an account changed.
const hookTime = 5 * time.Minute

// showProfile makes a user's memberships show their profile.
func (s *server) showProfile(ctx context.Context, user id.UserID) {
	s.later(ctx, "show a profile in rooms", func(ctx context.Context) error {
		profile, err := s.accounts.Profile(ctx, user)
		if err != nil {
			return err
		}
		return s.inRooms(ctx, user, []storage.Membership{storage.Join}, func(room id.RoomID) error {
			return s.rooms.SetProfile(ctx, room, user, memberProfile(profile))
		})
	})
}

// leaveRooms takes a deactivated user out of all rooms.
func (s *server) leaveRooms(ctx context.Context, user id.UserID) {
	s.later(ctx, "leave the rooms of a deactivated user", func(ctx context.Context) error {
		in := []storage.Membership{storage.Join, storage.Invite, storage.Knock}
		return s.inRooms(ctx, user, in, func(room id.RoomID) error {
			return s.rooms.Leave(ctx, roomserver.MemberRequest{Room: room, Sender: user, Target: user})
		})
	})
}

// later runs work that outlives the request that caused it; close waits for it.
func (s *server) later(ctx context.Context, what string, work func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTime)
	s.pending.Go(func() {
		defer cancel()
		if err := work(ctx); err != nil {
			s.log.Warn("could not "+what, "error", err)
		}
	})
}

// inRooms calls fn for each of a user's rooms.
func (s *server) inRooms(ctx context.Context, user id.UserID, with []storage.Membership, fn func(room id.RoomID) error) error {
	members, err := s.db.Latest().UserRooms(ctx, user, with...)
	if err != nil {
		return err
	}
	for _, m := range members {
		info, err := s.rooms.InfoOf(ctx, m.Room)
		if err != nil {
			return err
		}
		if err := fn(info.ID); err != nil && ctx.Err() != nil {
			return err
		}
	}
	return nil
}

// memberProfile is what memberships show of a profile.
func memberProfile(p accounts.Profile) roomserver.Profile {
	var out roomserver.Profile
	// A field of another type than text is not shown.
	_ = json.Unmarshal(p["displayname"], &out.DisplayName)
	_ = json.Unmarshal(p["avatar_url"], &out.AvatarURL)
	return out
}

// remoteProfile asks another server for a user's profile.
func (s *server) remoteProfile(ctx context.Context, user id.UserID, field string) (accounts.Profile, error) {
	return s.peers.QueryProfile(ctx, user.Homeserver(), user, field)
}

// localProfile reads the profile of a user of this server for a peer.
func (s *server) localProfile(ctx context.Context, user id.UserID, field string) (map[string]json.RawMessage, error) {
	if field == "" {
		return s.accounts.Profile(ctx, user)
	}
	value, err := s.accounts.ProfileField(ctx, user, field)
	if err != nil {
		return nil, err
	}
	return map[string]json.RawMessage{field: value}, nil
}

// invitable refuses invites of users that this server does not have.
func (s *server) invitable(ctx context.Context, user id.UserID) error {
	account, err := s.db.Latest().Account(ctx, user)
	if err != nil {
		return err
	}
	if account == nil || account.Deactivated {
		return fault.New(fault.NotFound, "There is no such user on this server")
	}
	return nil
}
