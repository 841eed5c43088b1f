package auth

import (
	"entente/roomserver/event"
	"maunium.net/go/mautrix/id"
)

// powerLevels has the rules on m.room.power_levels for a sender with the
// power own.
//
// Spec: rooms/v1/#authorisation-rules, rooms/v10/#authorisation-rules,
// rooms/v12/#authorisation-rules
func (c *check) powerLevels(own int64) error {
	after, refusal := parseLevels(c.rules, event.Value(c.ev.Content()))
	if refusal != nil {
		return refusal
	}
	for _, user := range c.levels.creators {
		if _, ok := after.users.find(string(user)); ok {
			return c.refuse(ruleLevelsCreators, "%s is a creator and cannot have a power level", user)
		}
	}
	if c.levels.event == nil {
		return nil
	}
	before := &c.levels.content
	for i := range before.named {
		if err := c.mayChange(own, names[i], before.named[i], after.named[i]); err != nil {
			return err
		}
	}
	if err := c.entriesChange(own, before.events, after.events); err != nil {
		return err
	}
	if c.rules.NotificationLevels {
		if err := c.entriesChange(own, before.notifications, after.notifications); err != nil {
			return err
		}
	}
	return c.usersChange(own, before.users, after.users)
}

// mayChange has the rule on the levels with a property of their own. An absent
// level has no value to compare: its default plays no part.
func (c *check) mayChange(own int64, property string, was, becomes level) error {
	if was == becomes {
		return nil
	}
	if was.set && was.value > own {
		return c.refuse(ruleLevelChanged+".1", "%s is %d, above the sender's power %d", property, was.value, own)
	}
	if becomes.set && becomes.value > own {
		return c.refuse(ruleLevelChanged+".2", "%s would be %d, above the sender's power %d", property, becomes.value, own)
	}
	return nil
}

// entriesChange has the rules on events, and from room version 6 on
// notifications.
func (c *check) entriesChange(own int64, before, after entries) error {
	return changes(before, after, func(key string, was, becomes level) error {
		if was.set && was.value > own {
			return c.refuse(ruleEntryWas+".1", "the level of %s is %d, above the sender's power %d", key, was.value, own)
		}
		if becomes.set && becomes.value > own {
			return c.refuse(ruleEntryBecomes+".1", "the level of %s would be %d, above the sender's power %d", key, becomes.value, own)
		}
		return nil
	})
}

// usersChange has the rules on users: nobody touches the power of their equals
// or gives more than their own.
func (c *check) usersChange(own int64, before, after entries) error {
	return changes(before, after, func(user string, was, becomes level) error {
		if was.set && was.value >= own && id.UserID(user) != c.ev.Sender() {
			return c.refuse(ruleUserEntryWas+".1", "%s has power %d, not below the sender's %d", user, was.value, own)
		}
		if becomes.set && becomes.value > own {
			return c.refuse(ruleUserEntryBecomes+".1", "%s would have power %d, above the sender's %d", user, becomes.value, own)
		}
		return nil
	})
}
