package clientapi

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"entente/accounts"
	"entente/internal/fault"
	"entente/internal/web"
	"entente/storage"
)

const (
	dummyStage = "m.login.dummy"
	tokenStage = "m.login.registration_token"
)

// registration is the body of a registration.
type registration struct {
	Username   string      `json:"username"`
	Password   *string     `json:"password"`
	Device     id.DeviceID `json:"device_id"`
	DeviceName string      `json:"initial_device_display_name"`
	Inhibit    bool        `json:"inhibit_login"`
	Refresh    bool        `json:"refresh_token"`
}

// postRegister makes an account.
//
// Spec: client-server-api/#post_matrixclientv3register
func (s *Server) postRegister(ctx context.Context, c *web.Call) (any, error) {
	kind, err := c.QueryEnum("kind", "user", "user", "guest")
	if err != nil {
		return nil, err
	}
	if kind == "guest" {
		return nil, fault.New(fault.Forbidden, "This server lets no guests in")
	}
	var body registration
	at, err := s.attempt(c, &body)
	if err != nil {
		return nil, err
	}
	flows, err := s.registrationFlows(ctx, at.stage)
	if err != nil {
		return nil, err
	}
	if err := s.checkRegistration(ctx, &body); err != nil {
		return nil, err
	}
	made := accounts.NewUser{Localpart: body.Username, Via: dummyStage, By: caller(c)}
	answer, err := at.prove(ctx, proof{flows: flows, check: func(ctx context.Context, stage string, auth json.RawMessage) error {
		if stage == dummyStage {
			return nil
		}
		return s.checkInvitation(ctx, auth, &made)
	}})
	if answer != nil || err != nil {
		return orNothing(answer), err
	}
	if body.Password == nil || *body.Password == "" {
		return nil, fault.New(fault.MissingParam, "The password is missing")
	}
	made.Password = *body.Password
	if !body.Inhibit {
		made.Login = &accounts.Login{
			Device: body.Device, DeviceName: body.DeviceName, Refresh: body.Refresh, Kind: storage.PasswordSession, By: caller(c),
		}
	}
	user, grant, err := s.accounts.Create(ctx, made)
	if err != nil {
		return nil, err
	}
	if grant == nil {
		return &grantBody{User: user}, nil
	}
	return s.granted(grant), nil
}

// registrationFlows are the ways to register now, or a refusal. Where everyone
// may register, a token is asked of nobody, and taken from whoever tries it:
// the first administrator.
func (s *Server) registrationFlows(ctx context.Context, tried string) (flows [][]string, err error) {
	if s.accounts.Open() {
		flows = append(flows, []string{dummyStage})
	}
	tokens, err := s.accounts.TakesTokens(ctx)
	if err != nil {
		return nil, err
	}
	if tokens && (flows == nil || tried == tokenStage) {
		flows = append(flows, []string{tokenStage})
	}
	if flows == nil {
		return nil, fault.New(fault.Forbidden, "Registration is disabled: ask an administrator for an account")
	}
	return flows, nil
}

// checkRegistration refuses what would fail anyway before anything is proved.
func (s *Server) checkRegistration(ctx context.Context, body *registration) error {
	if body.Password != nil {
		if err := s.accounts.CheckNewPassword(*body.Password); err != nil {
			return err
		}
	}
	if body.Username == "" {
		return nil
	}
	return s.accounts.Available(ctx, body.Username)
}

// checkInvitation checks a registration token, and notes that of the first
// administrator.
//
// Spec: client-server-api/#token-authenticated-registration
func (s *Server) checkInvitation(ctx context.Context, auth json.RawMessage, made *accounts.NewUser) error {
	var body struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal(auth, &body); err != nil {
		return fault.Wrap(err, fault.BadJSON, "auth does not have the form of authentication data")
	}
	invitation, err := s.accounts.CheckToken(ctx, body.Token)
	if err != nil {
		return err
	}
	made.Via = tokenStage
	switch invitation {
	case accounts.Invited:
		return nil
	case accounts.InvitedAsAdmin:
		made.Code = body.Token
		return nil
	}
	return fault.New(fault.Forbidden, "The registration token is not valid")
}

func (s *Server) getRegisterAvailable(ctx context.Context, c *web.Call) (any, error) {
	name, err := c.QueryRequired("username")
	if err != nil {
		return nil, err
	}
	return web.Raw(`{"available":true}`), s.accounts.Available(ctx, name)
}

// getTokenValidity tells whether a registration token is good.
//
// Spec: client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
func (s *Server) getTokenValidity(ctx context.Context, c *web.Call) (any, error) {
	token, err := c.QueryRequired("token")
	if err != nil {
		return nil, err
	}
	takes, err := s.accounts.TakesTokens(ctx)
	if err != nil {
		return nil, err
	}
	if !takes {
		return nil, fault.New(fault.Forbidden, "This server takes no registration tokens")
	}
	invitation, err := s.accounts.CheckToken(ctx, token)
	return map[string]bool{"valid": invitation != accounts.NotInvited}, err
}
