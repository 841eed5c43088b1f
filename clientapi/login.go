package clientapi

import (
	"context"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/storage"
)

const passwordStage = "m.login.password"

// getLogin lists the ways to log in.
//
// Spec: client-server-api/#get_matrixclientv3login
func (s *Server) getLogin(context.Context, *web.Call) (any, error) {
	return web.Raw(`{"flows":[{"type":"m.login.password"}]}`), nil
}

// identifier names a user at login.
//
// Spec: client-server-api/#identifier-types
type identifier struct {
	Type string `json:"type"`
	User string `json:"user"`
}

// name is the user that an identifier means; legacy is how clients of long ago
// say it.
func (i *identifier) name(legacy string) (string, error) {
	switch {
	case i == nil && legacy != "":
		return legacy, nil
	case i == nil || i.Type == "m.id.user" && i.User == "":
		return "", fault.New(fault.MissingParam, "The user is missing")
	case i.Type != "m.id.user":
		return "", fault.New(fault.InvalidParam, "Users are identified by m.id.user only")
	}
	return i.User, nil
}

// credentials are a user's name and password.
type credentials struct {
	Identifier *identifier `json:"identifier"`
	User       string      `json:"user"`
	Password   *string     `json:"password"`
}

// read is the name and the password.
func (c *credentials) read() (name, password string, err error) {
	if name, err = c.Identifier.name(c.User); err != nil {
		return "", "", err
	}
	if c.Password == nil {
		return "", "", fault.New(fault.MissingParam, "The password is missing")
	}
	return name, *c.Password, nil
}

func (s *Server) postLogin(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		credentials
		Type       string      `json:"type"`
		Device     id.DeviceID `json:"device_id"`
		DeviceName string      `json:"initial_device_display_name"`
		Refresh    bool        `json:"refresh_token"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.Type != passwordStage {
		return nil, fault.New(fault.InvalidParam, "The login type is not one that GET /login lists")
	}
	name, password, err := body.read()
	if err != nil {
		return nil, err
	}
	if err := s.chargeAccount(c, name); err != nil {
		return nil, err
	}
	grant, err := s.accounts.LogIn(ctx, name, password, accounts.Login{
		Device: body.Device, DeviceName: body.DeviceName, Refresh: body.Refresh, Kind: storage.PasswordSession, By: caller(c),
	})
	if err != nil {
		return nil, err
	}
	return s.granted(grant), nil
}

// chargeAccount counts an attempt to log in against the account too, so that
// guessing from many addresses is as slow as from one.
//
// Spec: client-server-api/#rate-limiting
func (s *Server) chargeAccount(c *web.Call, name string) error {
	return c.Charge(web.RateLogin, "account:"+string(s.accounts.Named(name)))
}

// grantBody is what a login answers.
type grantBody struct {
	User      id.UserID   `json:"user_id"`
	Access    string      `json:"access_token,omitempty"`
	Refresh   string      `json:"refresh_token,omitempty"`
	ExpiresMS int64       `json:"expires_in_ms,omitempty"`
	Device    id.DeviceID `json:"device_id,omitempty"`
	WellKnown any         `json:"well_known,omitempty"`
}

func (s *Server) granted(g *accounts.Grant) *grantBody {
	body := &grantBody{User: g.User, Access: g.AccessToken, Refresh: g.RefreshToken, ExpiresMS: g.ExpiresIn.Milliseconds(), Device: g.Device}
	if s.opts.BaseURL != "" {
		body.WellKnown = map[string]any{"m.homeserver": map[string]string{"base_url": s.opts.BaseURL}}
	}
	return body
}

// postRefresh exchanges a refresh token.
//
// Spec: client-server-api/#post_matrixclientv3refresh
func (s *Server) postRefresh(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Refresh string `json:"refresh_token"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.Refresh == "" {
		return nil, fault.New(fault.MissingParam, "refresh_token is missing")
	}
	g, err := s.accounts.Refresh(ctx, body.Refresh, caller(c))
	if err != nil {
		return nil, err
	}
	return struct {
		Access    string `json:"access_token"`
		Refresh   string `json:"refresh_token,omitempty"`
		ExpiresMS int64  `json:"expires_in_ms,omitempty"`
	}{g.AccessToken, g.RefreshToken, g.ExpiresIn.Milliseconds()}, nil
}

func (s *Server) postLogout(ctx context.Context, c *web.Call) (any, error) {
	return web.Empty, s.accounts.LogOut(ctx, caller(c))
}

func (s *Server) postLogoutAll(ctx context.Context, c *web.Call) (any, error) {
	return web.Empty, s.accounts.LogOutAll(ctx, caller(c))
}

// getWhoami tells whose token it is.
//
// Spec: client-server-api/#get_matrixclientv3accountwhoami
func (s *Server) getWhoami(_ context.Context, c *web.Call) (any, error) {
	return struct {
		User   id.UserID   `json:"user_id"`
		Device id.DeviceID `json:"device_id,omitempty"`
		Guest  bool        `json:"is_guest"`
	}{c.User(), c.Device(), c.Principal().Guest}, nil
}
