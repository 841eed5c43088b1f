package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

// maxUserID is the longest user ID in bytes.
//
// Spec: appendices/#user-identifiers
const maxUserID = 255

// NewUser says which account to make.
type NewUser struct {
	// Localpart is the name before the colon. Empty makes one up.
	Localpart string
	// Password may be empty: then nobody logs in with one.
	Password string
	// DisplayName may be empty.
	DisplayName string
	// Admin makes the user an administrator of this server.
	Admin bool
	// AppService is the application service that makes the account. Its users
	// may have names that are kept from people.
	AppService string
	// Code is that of the first administrator: it is used up, and the user
	// administers this server.
	Code string
	// Via says how the account came about, for the audit log.
	Via string
	// Login also logs a device in; nil does not.
	Login *Login
	// By is who makes the account.
	By Caller
}

// UserID turns the name that someone wants into a user ID of ours. Letters are
// taken in lower case.
//
// Spec: appendices/#user-identifiers
func (a *Accounts) UserID(localpart string) (id.UserID, error) {
	localpart = strings.ToLower(localpart)
	if localpart == "" {
		return "", fault.New(fault.InvalidUsername, "The user name is empty")
	}
	for i := range len(localpart) {
		if !localpartChar(localpart[i]) {
			return "", fault.New(fault.InvalidUsername, "User names consist of a-z, 0-9, and . _ = - / +")
		}
	}
	user := id.NewUserID(localpart, a.opts.ServerName)
	if len(user) > maxUserID {
		return "", fault.New(fault.InvalidUsername, "The user ID is longer than %d bytes", maxUserID)
	}
	return user, nil
}

func localpartChar(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || strings.IndexByte("._=-/+", b) >= 0
}

// Available refuses a name that nobody could register with now.
//
// Spec: client-server-api/#get_matrixclientv3registeravailable
func (a *Accounts) Available(ctx context.Context, localpart string) error {
	user, err := a.UserID(localpart)
	if err != nil {
		return err
	}
	if localpart[0] == '_' {
		return fault.New(fault.InvalidUsername, "Names that begin with _ are kept for application services")
	}
	account, err := a.db.Latest().Account(ctx, user)
	if err == nil && account != nil {
		return errInUse
	}
	return err
}

var errInUse = fault.New(fault.UserInUse, "The user name is taken")

// Create makes an account. The grant is nil unless a device logs in with it.
func (a *Accounts) Create(ctx context.Context, u NewUser) (id.UserID, *Grant, error) {
	if u.Localpart == "" {
		u.Localpart = randomName(12)
	}
	user, err := a.UserID(u.Localpart)
	if err != nil {
		return "", nil, err
	}
	if u.AppService == "" {
		if err := a.Available(ctx, u.Localpart); err != nil {
			return "", nil, err
		}
	}
	c := storage.Commit{Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(user, 0)}}
	if u.Code != "" {
		if err := a.useCode(ctx, &c, u.Code); err != nil {
			return "", nil, err
		}
		u.Admin = true
	}
	hashed := ""
	if u.Password != "" {
		if err := a.hasher.check(u.Password); err != nil {
			return "", nil, err
		}
		if hashed, err = a.hasher.hash(ctx, u.Password); err != nil {
			return "", nil, err
		}
	}
	account := &storage.Account{User: user, Password: hashed, Admin: u.Admin, AppService: u.AppService, Created: a.now().UnixMilli()}
	grant, err := a.compose(ctx, &c, account, u)
	if err != nil {
		return "", nil, err
	}
	err = a.commit(ctx, c)
	var used *storage.Duplicate
	switch {
	case errors.Is(err, storage.ErrConflict):
		return "", nil, errInUse
	case errors.As(err, &used):
		return "", nil, errCode
	case err != nil:
		return "", nil, err
	}
	return user, grant, nil
}

// compose adds to a commit all that a new account has from the first moment.
func (a *Accounts) compose(ctx context.Context, c *storage.Commit, account *storage.Account, u NewUser) (*Grant, error) {
	user := account.User
	rules, err := defaultRules(user).encode()
	if err != nil {
		return nil, err
	}
	c.Write = append(c.Write, account, (&storage.AccountData{User: user, Type: pushRulesType, Content: rules}).At(0))
	if u.DisplayName != "" {
		value, folded, err := profileValue(fieldDisplayName, mustJSON(u.DisplayName))
		if err != nil {
			return nil, err
		}
		c.Write = append(c.Write, (&storage.ProfileField{User: user, Field: fieldDisplayName, Value: value, Folded: folded}).At(0))
	}
	c.Audit = a.record(AuditRegister, user, u.By, "via", u.Via, "admin", strconv.FormatBool(u.Admin))
	if c.Touch, err = a.touch(ctx, storage.User, user); err != nil || u.Login == nil {
		return nil, err
	}
	return a.issue(ctx, c, user, *u.Login)
}

// CheckNewPassword refuses a password that nobody may choose.
func (a *Accounts) CheckNewPassword(password string) error { return a.hasher.check(password) }

// SetPassword changes a user's password. The caller has proved to be allowed
// to. Other devices than the caller's are logged out, for good or softly.
//
// Spec: client-server-api/#post_matrixclientv3accountpassword
func (a *Accounts) SetPassword(ctx context.Context, user id.UserID, password string, logout bool, by Caller) error {
	if err := a.hasher.check(password); err != nil {
		return err
	}
	hashed, err := a.hasher.hash(ctx, password)
	if err != nil {
		return err
	}
	rows := []storage.Row{&storage.Password{User: user, Hash: hashed}}
	except := by.Device
	if by.User != user {
		except = ""
	}
	if logout {
		rows = append(rows, &storage.EndAllSessions{User: user, Except: except}, &storage.NoDevices{User: user, Except: except})
	}
	return a.change(ctx, user, rows, a.record(AuditPassword, user, by, "by", string(by.User), "logout", strconv.FormatBool(logout)))
}

// SetAdmin makes a user an administrator of this server, or no longer one.
func (a *Accounts) SetAdmin(ctx context.Context, user id.UserID, admin bool, by Caller) error {
	return a.change(ctx, user, []storage.Row{&storage.Admin{User: user, Admin: admin}},
		a.record(AuditAdmin, user, by, "by", string(by.User), "admin", strconv.FormatBool(admin)))
}

// Deactivate ends an account for good: nobody logs in to it again. Erase also
// removes what is kept for the user beside their events.
//
// Spec: client-server-api/#post_matrixclientv3accountdeactivate
func (a *Accounts) Deactivate(ctx context.Context, user id.UserID, erase bool, by Caller) error {
	rows := []storage.Row{
		&storage.Deactivate{User: user}, &storage.EndAllSessions{User: user}, &storage.NoDevices{User: user},
		&storage.NoProfileField{User: user},
	}
	if erase {
		rows = append(rows, &storage.NoAccountData{User: user})
	}
	err := a.change(ctx, user, rows, a.record(AuditDeactivate, user, by, "by", string(by.User), "erase", strconv.FormatBool(erase)))
	if err == nil && a.opts.OnDeactivate != nil {
		a.opts.OnDeactivate(context.WithoutCancel(ctx), user)
	}
	return err
}

// change revises an account that exists and is not deactivated; every node
// forgets what it knew of the user's sessions.
func (a *Accounts) change(ctx context.Context, user id.UserID, rows []storage.Row, audit []storage.AuditRecord) error {
	touch, err := a.touch(ctx, storage.Sessions, user)
	if err != nil {
		return err
	}
	return a.revise(ctx, func() (*storage.Commit, error) {
		account, err := a.account(ctx, user)
		if err != nil {
			return nil, err
		}
		return &storage.Commit{
			Positions: 1, Expect: []storage.Precondition{storage.AccountRevision(user, account.Revision)},
			Write: append([]storage.Row{&storage.Revise{User: user}}, rows...), Touch: touch, Audit: audit,
		}, nil
	})
}

// account finds an account that can be used.
func (a *Accounts) account(ctx context.Context, user id.UserID) (*storage.Account, error) {
	account, err := a.db.Latest().Account(ctx, user)
	switch {
	case err != nil:
		return nil, err
	case account == nil:
		return nil, fault.New(fault.NotFound, "There is no such user")
	case account.Deactivated:
		return nil, fault.New(fault.UserDeactivated, "The account is deactivated")
	}
	return account, nil
}

// codeKey is the transaction key that makes a code good for one use.
func codeKey(hash []byte) storage.TransactionKey {
	return storage.TransactionKey("admin-code:" + base64.RawURLEncoding.EncodeToString(hash))
}

func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}
