package accounts

import (
	"context"
	"sync"
	"time"

	"maunium.net/go/mautrix/id"

	"entente/internal/fault"
	"entente/storage"
)

const (
	// seenApart is how far apart a device's noted uses are at least.
	seenApart = time.Minute
	// maxSeen bounds the devices whose last use waits to be written.
	maxSeen = 10_000
	// maxAgent is the longest user agent kept, in bytes.
	maxAgent = 255
)

// sightings are the last uses of devices that wait to be written, so that no
// request writes one.
type sightings struct {
	mu      sync.Mutex
	waiting map[deviceKey]*storage.DeviceSeen // guarded by mu
}

type deviceKey struct {
	user   id.UserID
	device id.DeviceID
}

func newSightings() *sightings { return &sightings{waiting: map[deviceKey]*storage.DeviceSeen{}} }

// note keeps a device's last use to be written later. Beyond its bound it
// keeps none: a minute later there is another.
func (s *sightings) note(session *storage.Session, at int64, by Caller) {
	if session.Device == "" {
		return
	}
	seen := &storage.DeviceSeen{User: session.User, ID: session.Device, At: at, From: by.from(), Agent: truncate(by.Agent, maxAgent)}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := deviceKey{session.User, session.Device}
	if s.waiting[key] == nil && len(s.waiting) >= maxSeen {
		return
	}
	s.waiting[key] = seen
}

func (s *sightings) take() []storage.Row {
	s.mu.Lock()
	defer s.mu.Unlock()
	rows := make([]storage.Row, 0, len(s.waiting))
	for _, seen := range s.waiting {
		rows = append(rows, seen)
	}
	clear(s.waiting)
	return rows
}

// writeSeen writes the last uses of devices, some hundred at a time.
func (a *Accounts) writeSeen(ctx context.Context) {
	for rows := a.seen.take(); len(rows) > 0; {
		n := min(len(rows), storage.MaxRows/2)
		if err := a.db.Stage(ctx, rows[:n]...); err != nil {
			a.log.Warn("noting when devices were last used failed", "error", err)
			return
		}
		rows = rows[n:]
	}
}

// Devices lists a user's devices.
//
// Spec: client-server-api/#get_matrixclientv3devices
func (a *Accounts) Devices(ctx context.Context, user id.UserID) ([]*storage.UserDevice, error) {
	return a.db.Latest().Devices(ctx, user)
}

// Device finds a user's device.
//
// Spec: client-server-api/#get_matrixclientv3devicesdeviceid
func (a *Accounts) Device(ctx context.Context, user id.UserID, device id.DeviceID) (*storage.UserDevice, error) {
	d, err := a.db.Latest().Device(ctx, user, device)
	if err == nil && d == nil {
		err = fault.New(fault.NotFound, "There is no such device")
	}
	return d, err
}

// RenameDevice gives a device a name for people.
//
// Spec: client-server-api/#put_matrixclientv3devicesdeviceid
func (a *Accounts) RenameDevice(ctx context.Context, user id.UserID, device id.DeviceID, name string) error {
	if len(name) > maxDeviceName {
		return fault.New(fault.InvalidParam, "The device's name is longer than %d bytes", maxDeviceName)
	}
	if _, err := a.Device(ctx, user, device); err != nil {
		return err
	}
	return a.commit(ctx, storage.Commit{Write: []storage.Row{&storage.DeviceName{User: user, ID: device, Name: name}}})
}

// maxDevices bounds how many devices are removed at once.
const maxDevices = 200

// DeleteDevices removes devices of a user and ends their sessions. Those that
// the user does not have are none.
//
// Spec: client-server-api/#post_matrixclientv3delete_devices
func (a *Accounts) DeleteDevices(ctx context.Context, user id.UserID, devices []id.DeviceID, by Caller) error {
	if len(devices) > maxDevices {
		return fault.New(fault.InvalidParam, "At most %d devices can be removed at once", maxDevices)
	}
	var rows []storage.Row
	var audit []storage.AuditRecord
	for _, device := range devices {
		rows = append(rows, &storage.EndSessions{User: user, Device: device}, &storage.NoDevice{User: user, ID: device})
		audit = append(audit, a.record(AuditDevice, user, Caller{Device: device, Remote: by.Remote}, "by", string(by.User))...)
	}
	if len(rows) == 0 {
		return nil
	}
	return a.change(ctx, user, rows, audit)
}
