package adminapi

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // the HMAC that the field's tools compute; SHA-1's weakness does not touch it
	"encoding/hex"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/storage"
)

const (
	nonceLife = time.Minute
	maxNonces = 1000
)

// nonces are what was given out for registrations: each is good once, and for
// a short while.
type nonces struct {
	now func() time.Time

	mu      sync.Mutex
	expires map[string]time.Time // guarded by mu
}

func newNonces(now func() time.Time) *nonces {
	return &nonces{now: now, expires: map[string]time.Time{}}
}

// give makes a nonce. When too many are about, those that expired make way,
// or one that did not.
func (n *nonces) give() string {
	nonce := rand.Text()
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	if len(n.expires) >= maxNonces {
		for old, end := range n.expires {
			if !now.Before(end) {
				delete(n.expires, old)
			}
		}
	}
	if len(n.expires) >= maxNonces {
		for old := range n.expires {
			delete(n.expires, old)
			break
		}
	}
	n.expires[nonce] = now.Add(nonceLife)
	return nonce
}

// take reports whether a nonce is good, and ends it.
func (n *nonces) take(nonce string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	end, ok := n.expires[nonce]
	delete(n.expires, nonce)
	return ok && n.now().Before(end)
}

func (s *Server) getNonce(context.Context, *web.Call) (any, error) {
	return map[string]string{"nonce": s.nonces.give()}, nil
}

// registration is the body of a registration with the shared secret.
type registration struct {
	Nonce       string `json:"nonce"`
	Username    string `json:"username"`
	DisplayName string `json:"displayname"`
	Password    string `json:"password"`
	Admin       bool   `json:"admin"`
	UserType    string `json:"user_type"`
	MAC         string `json:"mac"`
	Inhibit     bool   `json:"inhibit_login"`
}

// signed reports whether whoever sent the body knows the secret: the MAC
// covers nonce, user, password, admin or notadmin, and the user's type if it
// has one, with zero bytes between.
func (r *registration) signed(secret string) bool {
	parts := []string{r.Nonce, r.Username, r.Password, "notadmin"}
	if r.Admin {
		parts[3] = "admin"
	}
	if r.UserType != "" {
		parts = append(parts, r.UserType)
	}
	for _, part := range parts {
		if strings.ContainsRune(part, 0) {
			return false
		}
	}
	mac := hmac.New(sha1.New, []byte(secret))
	mac.Write([]byte(strings.Join(parts, "\x00")))
	want, err := hex.DecodeString(r.MAC)
	return err == nil && hmac.Equal(want, mac.Sum(nil))
}

// postRegister makes an account for whoever knows the shared secret.
func (s *Server) postRegister(ctx context.Context, c *web.Call) (any, error) {
	var body registration
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.Nonce == "" || body.Username == "" || body.Password == "" || body.MAC == "":
		return nil, fault.New(fault.MissingParam, "nonce, username, password and mac are needed")
	case !s.nonces.take(body.Nonce):
		return nil, fault.New(fault.InvalidParam, "The nonce is not known: get a new one")
	case !body.signed(s.opts.SharedSecret):
		return nil, fault.New(fault.Forbidden, "The MAC is wrong")
	}
	by := accounts.Caller{Remote: c.Remote(), Agent: c.UserAgent()}
	made := accounts.NewUser{
		Localpart: body.Username, Password: body.Password, DisplayName: body.DisplayName, Admin: body.Admin, Via: "shared secret", By: by,
	}
	if !body.Inhibit {
		made.Login = &accounts.Login{Kind: storage.PasswordSession, By: by}
	}
	user, grant, err := s.accounts.Create(ctx, made)
	if err != nil {
		return nil, err
	}
	answer := struct {
		User   id.UserID   `json:"user_id"`
		Home   string      `json:"home_server"`
		Access string      `json:"access_token,omitempty"`
		Device id.DeviceID `json:"device_id,omitempty"`
	}{User: user, Home: s.accounts.ServerName()}
	if grant != nil {
		answer.Access, answer.Device = grant.AccessToken, grant.Device
	}
	return answer, nil
}
