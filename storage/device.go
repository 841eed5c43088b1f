package storage

import (
	"context"

	"maunium.net/go/mautrix/id"
)

// UserDevice is a device of one of our users. As a Row it is made, or left as it
// is when the user has it already.
type UserDevice struct {
	User id.UserID
	ID   id.DeviceID
	// Name is for people; nil when there is none.
	Name *string
	// Created and Seen are in milliseconds since 1970.
	Created, Seen int64
	// From and Agent are the address and the user agent of its last use.
	From, Agent string
}

const deviceColumns = `SELECT u.user_id, d.device, d.name, d.created, d.seen, d.seen_from, d.agent FROM device d JOIN user_name u ON u.nid = d.user_nid `

const (
	insertDevice = `INSERT INTO device (user_nid, device, name, created, seen, seen_from, agent) VALUES ($1, $2, $3, $4, $5, $6, $7)
		ON CONFLICT (user_nid, device) DO UPDATE SET seen = excluded.seen, seen_from = excluded.seen_from, agent = excluded.agent`
	nameDevice    = `UPDATE device SET name = $3 WHERE user_nid = $1 AND device = $2`
	seeDevice     = `UPDATE device SET seen = $3, seen_from = $4, agent = $5 WHERE user_nid = $1 AND device = $2 AND seen < $3`
	deleteDevice  = `DELETE FROM device WHERE user_nid = $1 AND device = $2`
	deleteDevices = `DELETE FROM device WHERE user_nid = $1 AND device <> $2`
	selectDevice  = deviceColumns + `WHERE u.user_id = $1 AND d.device = $2`
	selectDevices = deviceColumns + `WHERE u.user_id = $1 ORDER BY d.device`
)

func (d *UserDevice) write(w *writer) {
	w.exec(insertDevice, w.number(users, string(d.User)), string(d.ID), d.Name, d.Created, d.Seen, d.From, d.Agent)
}

// DeviceName renames a device.
type DeviceName struct {
	User id.UserID
	ID   id.DeviceID
	Name string
}

func (d *DeviceName) write(w *writer) {
	w.exec(nameDevice, w.number(users, string(d.User)), string(d.ID), d.Name)
}

// DeviceSeen notes a device's last use.
type DeviceSeen struct {
	User id.UserID
	ID   id.DeviceID
	// At is in milliseconds since 1970.
	At          int64
	From, Agent string
}

func (d *DeviceSeen) write(w *writer) {
	w.exec(seeDevice, w.number(users, string(d.User)), string(d.ID), d.At, d.From, d.Agent)
}

// NoDevice removes a device. Its sessions are ended by EndSessions.
type NoDevice struct {
	User id.UserID
	ID   id.DeviceID
}

func (d *NoDevice) write(w *writer) {
	w.exec(deleteDevice, w.number(users, string(d.User)), string(d.ID))
}

// NoDevices removes every device of a user but one, if one is named.
type NoDevices struct {
	User   id.UserID
	Except id.DeviceID
}

func (d *NoDevices) write(w *writer) {
	w.exec(deleteDevices, w.number(users, string(d.User)), string(d.Except))
}

// Device finds a device; nil when the user has none of that ID.
func (v *View) Device(ctx context.Context, user id.UserID, device id.DeviceID) (*UserDevice, error) {
	found, err := v.devices(ctx, selectDevice, string(user), string(device))
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return found[0], nil
}

// Devices lists a user's devices, sorted.
func (v *View) Devices(ctx context.Context, user id.UserID) ([]*UserDevice, error) {
	return v.devices(ctx, selectDevices, string(user))
}

func (v *View) devices(ctx context.Context, sql string, args ...any) (out []*UserDevice, err error) {
	err = each(ctx, v.q, sql, args, func(r rowScanner) error {
		var d UserDevice
		err := r.Scan((*string)(&d.User), (*string)(&d.ID), &d.Name, &d.Created, &d.Seen, &d.From, &d.Agent)
		out = append(out, &d)
		return err
	})
	return out, err
}
