package clientapi

import (
	"context"
	"encoding/json"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/internal/web"
)

// proved reads the body of a call into dst and wants the caller's password
// before the call goes on: else it is the answer that asks for it.
func (s *Server) proved(ctx context.Context, c *web.Call, dst any) (any, error) {
	at, err := s.attempt(c, dst)
	if err != nil {
		return nil, err
	}
	_, answer, err := s.provePassword(ctx, c, at)
	return orNothing(answer), err
}

// provePassword wants a password, of the caller if there is one, and tells
// whose it was.
//
// Spec: client-server-api/#password-based
func (s *Server) provePassword(ctx context.Context, c *web.Call, at *attempt) (user id.UserID, answer *web.Answer, err error) {
	check := func(ctx context.Context, _ string, auth json.RawMessage) error {
		var body credentials
		if err := json.Unmarshal(auth, &body); err != nil {
			return fault.Wrap(err, fault.BadJSON, "auth does not have the form of authentication data")
		}
		if body.Identifier == nil && body.User == "" {
			body.User = string(c.User())
		}
		name, password, err := body.read()
		if err != nil {
			return err
		}
		user, err = s.checkPassword(ctx, c, name, password)
		return err
	}
	answer, err = at.prove(ctx, proof{flows: [][]string{{passwordStage}}, check: check})
	return user, answer, err
}

func (s *Server) checkPassword(ctx context.Context, c *web.Call, name, password string) (id.UserID, error) {
	if err := s.chargeAccount(c, name); err != nil {
		return "", err
	}
	account, err := s.accounts.CheckPassword(ctx, name, password)
	if err == nil && c.User() != "" && account.User != c.User() {
		err = errAnotherUser
	}
	if fault.Is(err, fault.Forbidden) {
		if failed := s.accounts.Refused(ctx, s.accounts.Named(name), caller(c)); failed != nil {
			return "", failed
		}
	}
	if err != nil {
		return "", err
	}
	return account.User, nil
}

// postPassword changes a password.
//
// Spec: client-server-api/#post_matrixclientv3accountpassword
func (s *Server) postPassword(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Password *string `json:"new_password"`
		Logout   *bool   `json:"logout_devices"`
	}
	at, err := s.attempt(c, &body)
	if err != nil {
		return nil, err
	}
	if body.Password == nil {
		return nil, fault.New(fault.MissingParam, "new_password is missing")
	}
	user, answer, err := s.provePassword(ctx, c, at)
	if answer != nil || err != nil {
		return orNothing(answer), err
	}
	return web.Empty, s.accounts.SetPassword(ctx, user, *body.Password, body.Logout == nil || *body.Logout, caller(c))
}

// postDeactivate ends the caller's account.
//
// Spec: client-server-api/#post_matrixclientv3accountdeactivate
func (s *Server) postDeactivate(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Erase bool `json:"erase"`
	}
	at, err := s.attempt(c, &body)
	if err != nil {
		return nil, err
	}
	user, answer, err := s.provePassword(ctx, c, at)
	if answer != nil || err != nil {
		return orNothing(answer), err
	}
	return web.Raw(`{"id_server_unbind_result":"success"}`), s.accounts.Deactivate(ctx, user, body.Erase, caller(c))
}

// orNothing is an answer as a handler returns it.
func orNothing(answer *web.Answer) any {
	if answer == nil {
		return nil
	}
	return *answer
}

// get3PIDs lists the caller's email addresses and telephone numbers: this
// server keeps none.
//
// Spec: client-server-api/#get_matrixclientv3account3pid
func (s *Server) get3PIDs(context.Context, *web.Call) (any, error) {
	return web.Raw(`{"threepids":[]}`), nil
}
