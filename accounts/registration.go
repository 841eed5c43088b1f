package accounts

import (
	"context"
	"crypto/sha256"
	"time"

	"entente/internal/fault"
	"entente/storage"
)

// codeLife is how long the first administrator's code is good.
const codeLife = 24 * time.Hour

var errCode = fault.New(fault.Forbidden, "The registration token is not valid")

// FirstAdministrator makes the code with which the first administrator
// registers, as a registration token; it is good once, for a day, and replaces
// the code before it. It is empty when there is an administrator already.
func (a *Accounts) FirstAdministrator(ctx context.Context) (code string, err error) {
	has, err := a.db.Latest().HasAdmin(ctx)
	if err != nil || has {
		return "", err
	}
	code, hash := newToken("first_")
	row := &storage.AdminCode{Hash: hash, Expires: a.now().Add(codeLife).UnixMilli()}
	return code, a.commit(ctx, storage.Commit{Positions: 1, Write: []storage.Row{row}})
}

// Invitation is what a registration token is good for.
type Invitation int

// The kinds of invitation.
const (
	// NotInvited: the token is not valid.
	NotInvited Invitation = iota
	// Invited: its holder may register.
	Invited
	// InvitedAsAdmin: its holder may register once, as the first
	// administrator of this server.
	InvitedAsAdmin
)

// CheckToken tells what a registration token is good for now. Tokens are
// looked up by hash, so that time tells nothing about them.
//
// Spec: client-server-api/#token-authenticated-registration
func (a *Accounts) CheckToken(ctx context.Context, token string) (Invitation, error) {
	sum := sha256.Sum256([]byte(token))
	if a.tokens[sum] {
		return Invited, nil
	}
	ok, err := a.codeHolds(ctx, sum[:])
	if err != nil || !ok {
		return NotInvited, err
	}
	return InvitedAsAdmin, nil
}

// codeHolds reports whether a code of this hash makes the first administrator.
func (a *Accounts) codeHolds(ctx context.Context, hash []byte) (bool, error) {
	ok := false
	err := a.db.View(ctx, func(v *storage.View) error {
		has, err := v.HasAdmin(ctx)
		if err != nil || has {
			return err
		}
		ok, err = v.HasAdminCode(ctx, hash, a.now().UnixMilli())
		return err
	})
	return ok, err
}

// useCode makes a commit use up the first administrator's code.
func (a *Accounts) useCode(ctx context.Context, c *storage.Commit, code string) error {
	hash := hashOf(code)
	ok, err := a.codeHolds(ctx, hash)
	if err != nil {
		return err
	}
	if !ok {
		return errCode
	}
	key := codeKey(hash)
	c.Expect = append(c.Expect, storage.Once(key))
	c.Write = append(c.Write, &storage.Transaction{Key: key}, storage.NoAdminCode{})
	return nil
}

// Open reports whether everyone may register.
func (a *Accounts) Open() bool { return a.opts.Registration.Open }

// TakesTokens reports whether anyone may register with a token now.
func (a *Accounts) TakesTokens(ctx context.Context) (bool, error) {
	if len(a.tokens) > 0 {
		return true, nil
	}
	has, err := a.db.Latest().HasAdmin(ctx)
	return !has, err
}
