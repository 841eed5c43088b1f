package clientapi

import (
	"context"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/internal/web"
)

// getDevices lists the caller's devices.
//
// Spec: client-server-api/#device-management
func (s *Server) getDevices(ctx context.Context, c *web.Call) (any, error) {
	devices, err := s.accounts.Devices(ctx, c.User())
	if err != nil {
		return nil, err
	}
	bodies := make([]deviceBody, len(devices))
	for i, d := range devices {
		bodies[i] = deviceBody{d.ID, d.Name, d.From, d.Seen}
	}
	return map[string][]deviceBody{"devices": bodies}, nil
}

// deviceBody is a device as its user sees it.
type deviceBody struct {
	ID   id.DeviceID `json:"device_id"`
	Name *string     `json:"display_name,omitempty"`
	From string      `json:"last_seen_ip,omitempty"`
	Seen int64       `json:"last_seen_ts,omitempty"`
}

func (s *Server) getDevice(ctx context.Context, c *web.Call) (any, error) {
	d, err := s.accounts.Device(ctx, c.User(), id.DeviceID(c.Path("deviceId")))
	if err != nil {
		return nil, err
	}
	return deviceBody{d.ID, d.Name, d.From, d.Seen}, nil
}

func (s *Server) putDevice(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Name *string `json:"display_name"`
	}
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	device := id.DeviceID(c.Path("deviceId"))
	if body.Name == nil {
		_, err := s.accounts.Device(ctx, c.User(), device)
		return web.Empty, err
	}
	return web.Empty, s.accounts.RenameDevice(ctx, c.User(), device, *body.Name)
}

func (s *Server) deleteDevice(ctx context.Context, c *web.Call) (any, error) {
	asked, err := s.proved(ctx, c, nil)
	if asked != nil || err != nil {
		return asked, err
	}
	return web.Empty, s.accounts.DeleteDevices(ctx, c.User(), []id.DeviceID{id.DeviceID(c.Path("deviceId"))}, caller(c))
}

func (s *Server) postDeleteDevices(ctx context.Context, c *web.Call) (any, error) {
	var body struct {
		Devices []id.DeviceID `json:"devices"`
	}
	asked, err := s.proved(ctx, c, &body)
	if asked != nil || err != nil {
		return asked, err
	}
	if body.Devices == nil {
		return nil, fault.New(fault.MissingParam, "devices are missing")
	}
	return web.Empty, s.accounts.DeleteDevices(ctx, c.User(), body.Devices, caller(c))
}
